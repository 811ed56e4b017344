package template

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mcp-access-oauth/shared/oauth"
)

// routes are the paths of the HTTP API and the logical ids of the functions that answer them.
func (d document) routes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for id, r := range d.Resources {
		if r.Type != "AWS::ApiGatewayV2::Route" {
			continue
		}
		key, _ := r.Properties["RouteKey"].(string)
		target, _ := at(r.Properties, "Target", "Fn::Sub").(string)
		integration, ok := d.Resources[strings.TrimSuffix(strings.TrimPrefix(target, "integrations/${"), "}")]
		if !ok || integration.Type != "AWS::ApiGatewayV2::Integration" {
			t.Errorf("%s: target %q is no integration", id, target)
			continue
		}
		if uri := texts(at(integration.Properties, "IntegrationUri", "Fn::GetAtt")); len(uri) == 2 && uri[1] == "Arn" {
			found[key] = uri[0]
		} else {
			t.Errorf("%s: its integration calls %v, want a function", id, integration.Properties["IntegrationUri"])
		}
	}
	return found
}

// TestRoutes: the HTTP API routes exactly the paths that the handlers have, each to the function that handles it, and
// everything else to discovery. As ANY, for methods and preflights are answered by our code.
func TestRoutes(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		functions, got := d.functions(t), d.routes(t)
		want := map[string]string{"$default": functions["discovery"]}
		for _, e := range oauth.Endpoints {
			switch e.Front {
			case oauth.Login:
				want["ANY "+e.Path] = functions[e.Function]
			case oauth.MCP:
				if e.Function != "mcp" {
					t.Errorf("%s is answered by %s, but the function URL has only mcp", e.Path, e.Function)
				}
			}
		}
		for route, function := range want {
			if got[route] != function || function == "" {
				t.Errorf("%s goes to %q, want %q", route, got[route], function)
			}
			delete(got, route)
		}
		for route, function := range got {
			t.Errorf("%s goes to %s; no handler has that path", route, function)
		}
	})
}

// TestIntegrations: every integration speaks payload 2.0 to a function that the API, and only this API, may call.
func TestIntegrations(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		permitted := map[string]bool{}
		for id, r := range d.Resources {
			if r.Type != "AWS::Lambda::Permission" || r.Properties["Principal"] != "apigateway.amazonaws.com" {
				continue
			}
			source, _ := at(r.Properties, "SourceArn", "Fn::Sub").(string)
			if r.Properties["Action"] != "lambda:InvokeFunction" || !strings.HasSuffix(source, ":${AWS::AccountId}:${HttpApi}/*") {
				t.Errorf("%s: permits %v to %q", id, r.Properties["Action"], source)
				continue
			}
			permitted[fmt.Sprint(at(r.Properties, "FunctionName", "Ref"))] = true
		}
		for id, r := range d.Resources {
			if r.Type != "AWS::ApiGatewayV2::Integration" {
				continue
			}
			if function := texts(at(r.Properties, "IntegrationUri", "Fn::GetAtt"))[0]; !permitted[function] {
				t.Errorf("%s: the API may not call %s", id, function)
			}
			if r.Properties["PayloadFormatVersion"] != "2.0" || r.Properties["IntegrationType"] != "AWS_PROXY" || !refers(r.Properties["ApiId"], "HttpApi") {
				t.Errorf("%s: %v", id, r.Properties)
			}
		}
	})
}

// TestFunctionURL: mcp streams, to everyone: the bearer check is our own. Since October 2025 a public function URL needs
// two permissions.
func TestFunctionURL(t *testing.T) {
	t.Run("written", func(t *testing.T) {
		d := written(t, templateFile)
		for folder, id := range d.functions(t) {
			url := at(d.Resources[id].Properties, "FunctionUrlConfig")
			if folder != "mcp" {
				if url != nil {
					t.Errorf("%s has a function URL, which goes round the HTTP API", id)
				}
				continue
			}
			if at(url, "InvokeMode") != "RESPONSE_STREAM" || at(url, "AuthType") != "NONE" {
				t.Errorf("%s: %v", id, url)
			}
			if at(url, "Cors") != nil {
				t.Errorf("%s: CORS is set in the template and in code", id)
			}
		}
	})
	t.Run("transformed", func(t *testing.T) {
		d := transformed(t)
		mcp := d.functions(t)["mcp"]
		var invokeURL, invoke bool
		for id, r := range d.Resources {
			switch {
			case r.Type == "AWS::Lambda::Url":
				if !refers(r.Properties["TargetFunctionArn"], mcp) || r.Properties["InvokeMode"] != "RESPONSE_STREAM" || r.Properties["AuthType"] != "NONE" {
					t.Errorf("%s: %v", id, r.Properties)
				}
			case r.Type == "AWS::Lambda::Permission" && r.Properties["Principal"] == "*":
				if !refers(r.Properties["FunctionName"], mcp) {
					t.Errorf("%s: opens %v to everyone", id, r.Properties["FunctionName"])
				}
				invokeURL = invokeURL || r.Properties["Action"] == "lambda:InvokeFunctionUrl" && r.Properties["FunctionUrlAuthType"] == "NONE"
				invoke = invoke || r.Properties["Action"] == "lambda:InvokeFunction" && r.Properties["InvokedViaFunctionUrl"] == true
			}
		}
		if !invokeURL || !invoke {
			t.Errorf("permission to invoke the URL: %v, to invoke the function through it: %v; want both", invokeURL, invoke)
		}
	})
}

// TestThrottling: the gateway limits every route but the token function's, which answers a refusal in OAuth JSON itself.
// The stage can only name routes that exist.
func TestThrottling(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		stage := d.Resources["Stage"]
		if stage.Properties["StageName"] != "$default" || stage.Properties["AutoDeploy"] != true {
			t.Errorf("stage %v, deployed %v", stage.Properties["StageName"], stage.Properties["AutoDeploy"])
		}
		for _, limit := range []string{"ThrottlingRateLimit", "ThrottlingBurstLimit"} {
			if at(stage.Properties, "DefaultRouteSettings", limit) == nil {
				t.Errorf("no %s by default", limit)
			}
		}
		var exempt []string
		for route, settings := range stage.Properties["RouteSettings"].(map[string]any) {
			exempt = append(exempt, route)
			// More than the account allows would be refused, and 2,500 after 1,250 is what an account has everywhere.
			if rate, burst := at(settings, "ThrottlingRateLimit"), at(settings, "ThrottlingBurstLimit"); rate != 2500.0 || burst != 1250.0 {
				t.Errorf("%s: rate %v and burst %v, want the account's own limits, as numbers", route, rate, burst)
			}
			if !slices.ContainsFunc(texts(stage.DependsOn), func(id string) bool { return d.Resources[id].Properties["RouteKey"] == route }) {
				t.Errorf("the stage does not wait for the route %s", route)
			}
		}
		var want []string
		for _, e := range oauth.Endpoints {
			if e.Function == "token" {
				want = append(want, "ANY "+e.Path)
			}
		}
		slices.Sort(exempt)
		slices.Sort(want)
		if !slices.Equal(exempt, want) {
			t.Errorf("routes with limits of their own: %v, want %v", exempt, want)
		}
	})
}

// TestNoCircularDependency walks what CloudFormation walks. The login's functions name the MCP function's URL; the MCP
// function names the API alone.
func TestNoCircularDependency(t *testing.T) {
	both(t, func(t *testing.T, d document) {
		needs := map[string][]string{}
		for id, r := range d.Resources {
			needs[id] = append(references(r.Properties), texts(r.DependsOn)...)
		}
		const walking, done = 1, 2
		state := map[string]int{}
		var walk func(id string, path []string)
		walk = func(id string, path []string) {
			switch state[id] {
			case walking:
				t.Errorf("circular: %s", strings.Join(append(path, id), " -> "))
				return
			case done:
				return
			}
			state[id] = walking
			for _, next := range needs[id] {
				if _, ok := d.Resources[next]; !ok && d.generates(next) {
					next = strings.TrimSuffix(next, "Url") // SAM makes <function>Url of a function
				}
				if _, ok := d.Resources[next]; ok {
					walk(next, append(path, id))
				} else if _, ok := d.Parameters[next]; !ok && !strings.HasPrefix(next, "AWS::") {
					t.Errorf("%s names %s, which is nothing", id, next)
				}
			}
			state[id] = done
		}
		for id := range d.Resources {
			walk(id, nil)
		}
	})
}

func (d document) generates(id string) bool {
	return d.Resources[strings.TrimSuffix(id, "Url")].Type == "AWS::Serverless::Function"
}

// references are the logical ids that a value names.
func references(value any) []string {
	var found []string
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			found = append(found, references(item)...)
		}
	case map[string]any:
		name, argument, _ := intrinsic(value)
		switch name {
		case "Ref":
			return []string{argument.(string)}
		case "Fn::GetAtt":
			return texts(argument)[:1]
		case "Fn::Sub":
			for _, match := range substitution.FindAllStringSubmatch(fmt.Sprint(argument), -1) {
				id, _, _ := strings.Cut(match[1], ".")
				found = append(found, id)
			}
			return found
		case "Fn::If":
			return references(argument.([]any)[1:])
		}
		for _, member := range value {
			found = append(found, references(member)...)
		}
	}
	return found
}
