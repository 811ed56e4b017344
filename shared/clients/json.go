package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

const maxJSONDepth = 8

// object is a JSON object by member name, to the letter: encoding/json would take "Client_ID" for client_id, and the
// last of two members.
type object map[string]json.RawMessage

// parseObject reads exactly one JSON object: no member twice at any depth, nothing behind it, no deep nesting.
func parseObject(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the JSON is not UTF-8") // RFC 8259 section 8.1
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := checkValue(decoder, 0); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil || o == nil {
		return nil, errors.New("the JSON is not an object")
	}
	return o, nil
}

// checkValue walks one JSON value.
func checkValue(decoder *json.Decoder, depth int) error {
	if depth > maxJSONDepth {
		return errors.New("the JSON is nested too deeply")
	}
	token, err := decoder.Token()
	if err != nil {
		return errors.New("the JSON is malformed")
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	var seen map[string]bool
	for decoder.More() {
		if delim == '{' {
			name, err := decoder.Token()
			if err != nil {
				return errors.New("the JSON is malformed")
			}
			if seen[name.(string)] {
				return fmt.Errorf("the JSON has the member %q twice", name)
			}
			if seen == nil {
				seen = make(map[string]bool)
			}
			seen[name.(string)] = true
		}
		if err := checkValue(decoder, depth+1); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return errors.New("the JSON is malformed")
	}
	return nil
}

// has reports whether a member is there and not null (RFC 7592 section 2.2 counts null as omitted).
func (o object) has(name string) bool {
	raw, ok := o[name]
	return ok && string(raw) != "null"
}

// text is a member that must be a string of at most limit bytes; absent is "".
func (o object) text(name string, limit int) (string, error) {
	if !o.has(name) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(o[name], &s); err != nil {
		return "", fmt.Errorf("%s must be a string", name)
	}
	if len(s) > limit {
		return "", fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return s, nil
}

// list is a member that must be an array of at most count strings of at most limit bytes each; absent is nil.
func (o object) list(name string, count, limit int) ([]string, error) {
	if !o.has(name) {
		return nil, nil
	}
	var values []*string
	if err := json.Unmarshal(o[name], &values); err != nil || slices.Contains(values, nil) {
		return nil, fmt.Errorf("%s must be an array of strings", name)
	}
	if len(values) > count {
		return nil, fmt.Errorf("%s has more than %d values", name, count)
	}
	out := make([]string, len(values))
	for i, v := range values {
		if len(*v) > limit {
			return nil, fmt.Errorf("%s has a value longer than %d bytes", name, limit)
		}
		out[i] = *v
	}
	return out, nil
}
