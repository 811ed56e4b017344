package mcpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"mcp-access-oauth/shared/tools"
)

// Arguments and results are held to their schemas here and not by mcp-go, which would tell the validator's Go values to
// the caller, and would encode and decode every argument anew.

// compileSchema returns a schema in its shortest spelling, for tools/list, and ready to be used.
func compileSchema(schema string) (json.RawMessage, *jsonschema.Schema, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(schema)); err != nil {
		return nil, nil, err
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(compact.Bytes()))
	if err != nil {
		return nil, nil, err
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", document); err != nil {
		return nil, nil, err
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		return nil, nil, err
	}
	return compact.Bytes(), compiled, nil
}

// compileInput compiles the schema of a tool's arguments, which are always an object (MCP, Tools, Data Types).
func compileInput(schema string) (json.RawMessage, *jsonschema.Schema, error) {
	raw, compiled, err := compileSchema(schema)
	if err == nil && (compiled.Types == nil || !slices.Equal(compiled.Types.ToStrings(), []string{"object"})) {
		err = errors.New(`"type" is not "object"`)
	}
	return raw, compiled, err
}

// checkArguments holds the arguments of a call to the tool's schema. What mcp-go has decoded is what is checked, and the
// text it came from is what the tool reads, so that the two must not differ: a name that stands twice, or that differs
// from the schema's only in case, is one argument to one JSON reader and another to the next, Go's among them.
func checkArguments(input *jsonschema.Schema, params *mcp.CallToolParams) error {
	const refused = "the arguments do not fit: "
	if params.Arguments == nil { // absent or null, as for a tool that takes none
		params.Arguments, params.RawArguments = map[string]any{}, json.RawMessage("{}")
	}
	if members(params.Arguments) != colons(params.RawArguments) {
		return tools.Errorf(refused + "an object names a member twice")
	}
	object, _ := params.Arguments.(map[string]any)
	for name := range object {
		if input.Properties[name] != nil {
			continue
		}
		for declared := range input.Properties {
			if strings.EqualFold(name, declared) {
				return tools.Errorf(refused+"unknown property '%s', want '%s'", clip(name), declared)
			}
		}
	}
	if err := input.Validate(params.Arguments); err != nil {
		return tools.Errorf("%s%s", refused, describe(err))
	}
	return nil
}

// members counts the members of all objects in a decoded value.
func members(value any) (n int) {
	switch value := value.(type) {
	case map[string]any:
		n = len(value)
		for _, member := range value {
			n += members(member)
		}
	case []any:
		for _, element := range value {
			n += members(element)
		}
	}
	return n
}

// colons counts the members of all objects in valid JSON: each has one colon outside strings.
func colons(raw []byte) (n int) {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case !inString && c == ':':
			n++
		}
	}
	return n
}

// checkResult holds a result to what its tool declared. Its errors are faults of the tool, for the log alone.
func checkResult(output *jsonschema.Schema, result *mcp.CallToolResult) error {
	switch {
	case result == nil:
		return errors.New("the tool returned neither a result nor an error")
	case output == nil || result.IsError || result.NeedsInput():
		return nil
	case result.StructuredContent == nil:
		return errors.New("the result lacks the structured content that the output schema declares")
	}
	raw, ok := result.StructuredContent.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(result.StructuredContent); err != nil {
			return fmt.Errorf("encoding the structured content: %w", err)
		}
	}
	content, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("decoding the structured content: %w", err)
	}
	if err := output.Validate(content); err != nil {
		return fmt.Errorf("the structured content does not fit the output schema: %s", describe(err))
	}
	return nil
}

// maxFaults bounds how many faults of one value are told.
const maxFaults = 10

// describe says in one line what does not fit a schema, and where (RFC 6901): "/a: got string, want number".
func describe(err error) string {
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err.Error()
	}
	faults := faults(invalid, message.NewPrinter(language.English))
	slices.Sort(faults) // the validator walks maps
	if len(faults) > maxFaults {
		faults = append(faults[:maxFaults], "and more")
	}
	return strings.Join(faults, "; ")
}

// faults takes the leaves of a validator's error: what stands above them only says that something below is wrong.
func faults(invalid *jsonschema.ValidationError, printer *message.Printer) (all []string) {
	for _, cause := range invalid.Causes {
		if all = append(all, faults(cause, printer)...); len(all) > maxFaults {
			break
		}
	}
	switch reason := invalid.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf: // the schema allows either, and neither fits
		if len(all) > 0 {
			return []string{strings.Join(all, ", or ")}
		}
	case *kind.AdditionalProperties:
		slices.Sort(reason.Properties)
	}
	if len(all) > 0 {
		return all
	}
	var pointer strings.Builder
	for _, token := range invalid.InstanceLocation {
		pointer.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	if pointer.Len() > 0 {
		pointer.WriteString(": ")
	}
	return []string{clip(pointer.String() + invalid.ErrorKind.LocalizedString(printer))}
}

// clip bounds what is repeated to a caller of its own words.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
