package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mcp-access-oauth/shared/seal/kms"
	"mcp-access-oauth/shared/seal/kms/kmstest"
	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/shared/tools/bedrock"
	"mcp-access-oauth/shared/tools/bedrock/bedrocktest"
)

func loadRoles(t *testing.T, parameters map[string]string) *policies {
	t.Helper()
	parameters["AccessClientSecretArn"] = secretARN
	tpl, err := loadTemplate("../../template.yaml", parameters, map[string]string{
		"Table": tableName, "Table.Arn": tableARN(tableName), "Key.Arn": kmstest.KeyARN, "HttpApi": "local",
		"McpFunctionUrl.FunctionUrl": "http://localhost:1/", "AWS::StackName": stackName, "AWS::Region": region,
		"AWS::URLSuffix": "amazonaws.com", "AWS::Partition": "aws", "AWS::AccountId": "000000000000",
	})
	if err != nil {
		t.Fatal(err)
	}
	functions, err := tpl.functions()
	if err != nil {
		t.Fatal(err)
	}
	granted, err := tpl.policies(functions)
	if err != nil {
		t.Fatal(err)
	}
	return granted
}

// TestPermissions sends calls as the SDK writes them through the guard.
func TestPermissions(t *testing.T) {
	p := &permissions{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	guard := p.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body) // what arrives is what was sent
	}))
	send := func(function, target, body string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("X-Amz-Target", target)
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+function+"/20261124/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00")
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	const dynamo = "DynamoDB_20120810."
	get := func(partition string) string {
		return `{"TableName":"mcp-access-oauth","Key":{"pk":{"S":"` + partition + `"},"sk":{"S":"x"}}}`
	}
	put := func(partition string) string { return strings.Replace(get(partition), `"Key"`, `"Item"`, 1) }
	encrypt := func(purpose, stack string) string {
		return `{"KeyId":"` + kmstest.KeyARN + `","Plaintext":"eA==","EncryptionContext":{"purpose":"` + purpose + `","stack":"` + stack + `"}}`
	}

	if status, _ := send("token", dynamo+"GetItem", get("grant#x")); status != http.StatusBadRequest {
		t.Errorf("before the template is read: %d", status)
	}
	p.granted.Store(loadRoles(t, map[string]string{}))

	for _, test := range []struct {
		name, function, target, body string
		allowed                      bool
	}{
		{"token reads a grant", "token", dynamo + "GetItem", get("grant#x"), true},
		{"token reads grant and client together", "token", dynamo + "BatchGetItem",
			`{"RequestItems":{"mcp-access-oauth":{"Keys":[{"pk":{"S":"client"},"sk":{"S":"a"}},{"pk":{"S":"grant#x"},"sk":{"S":"grant"}}]}}}`, true},
		{"token reads the keyset among others", "token", dynamo + "BatchGetItem",
			`{"RequestItems":{"mcp-access-oauth":{"Keys":[{"pk":{"S":"client"},"sk":{"S":"a"}},{"pk":{"S":"keyset"},"sk":{"S":"b"}}]}}}`, false},
		{"register writes a client", "register", dynamo + "PutItem", put("client"), true},
		{"register writes a grant", "register", dynamo + "PutItem", put("grant#x"), false},
		{"register writes beside the limit", "register", dynamo + "PutItem", put("limit/registers"), false},
		{"authorize reads a client", "authorize", dynamo + "GetItem", get("client"), true},
		{"authorize writes a client", "authorize", dynamo + "PutItem", put("client"), false},
		{"authorize creates the keyset", "authorize", dynamo + "PutItem", put("keyset"), true},
		{"mcp lists state", "mcp", dynamo + "Query",
			`{"TableName":"mcp-access-oauth","KeyConditionExpression":"pk = :pk AND sk > :after","ExpressionAttributeValues":{":pk":{"S":"state/x/images"},":after":{"S":"a"}}}`, true},
		{"mcp lists clients", "mcp", dynamo + "Query",
			`{"TableName":"mcp-access-oauth","KeyConditionExpression":"pk = :pk","ExpressionAttributeValues":{":pk":{"S":"client"}}}`, false},
		{"mcp queries an index", "mcp", dynamo + "Query",
			`{"TableName":"mcp-access-oauth","IndexName":"user","KeyConditionExpression":"user = :v","ExpressionAttributeValues":{":v":{"S":"u"}}}`, false},
		{"another table", "token", dynamo + "GetItem", strings.Replace(get("grant#x"), "mcp-access-oauth", "other", 1), false},
		{"nobody scans", "token", dynamo + "Scan", `{"TableName":"mcp-access-oauth"}`, false},
		{"discovery reads", "discovery", dynamo + "GetItem", get("client"), false},
		{"an unknown function", "other", dynamo + "GetItem", get("client"), false},
		{"the janitor wraps the keyset", "janitor", "TrentService.Encrypt", encrypt(kms.Purpose, stackName), true},
		{"for another purpose", "janitor", "TrentService.Encrypt", encrypt("mine", stackName), false},
		{"for another stack", "janitor", "TrentService.Encrypt", encrypt(kms.Purpose, "other"), false},
		{"without a context", "janitor", "TrentService.Encrypt", `{"KeyId":"` + kmstest.KeyARN + `"}`, false},
		{"token opens the keyset", "token", "TrentService.Decrypt", encrypt(kms.Purpose, stackName), false},
		{"callback reads the secret", "callback", "secretsmanager.GetSecretValue", `{"SecretId":"` + secretARN + `"}`, true},
		{"another secret", "callback", "secretsmanager.GetSecretValue", `{"SecretId":"` + secretARN + `2"}`, false},
		{"authorize reads the secret", "authorize", "secretsmanager.GetSecretValue", `{"SecretId":"` + secretARN + `"}`, false},
		{"no JSON", "token", dynamo + "GetItem", `{`, false},
		{"no service", "token", "Lambda.Invoke", `{}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := send(test.function, test.target, test.body)
			switch {
			case test.allowed && (status != http.StatusOK || body != test.body):
				t.Errorf("refused: %d %s", status, body)
			case !test.allowed && status != http.StatusBadRequest:
				t.Errorf("allowed: %d %s", status, body)
			}
		})
	}
}

// TestPermissions_Bedrock: the image models are open to mcp where the template's parameter chooses them, and only then.
func TestPermissions_Bedrock(t *testing.T) {
	p := &permissions{log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	aws := httptest.NewServer(p.guard(byTarget(nil, nil, bedrocktest.New())))
	defer aws.Close()
	for name, c := range map[string]struct {
		parameters       map[string]string
		function, region string
		allowed          bool
	}{
		"bedrock":          {map[string]string{"ImageModel": "bedrock"}, "mcp", "us-west-2", true},
		"another region":   {map[string]string{"ImageModel": "bedrock", "ImageRegion": "eu-central-1"}, "mcp", "eu-central-1", true},
		"not its region":   {map[string]string{"ImageModel": "bedrock"}, "mcp", "us-east-1", false},
		"preview":          {map[string]string{"ImageModel": "preview"}, "mcp", "us-west-2", false},
		"another function": {map[string]string{"ImageModel": "bedrock"}, "token", "us-west-2", false},
	} {
		t.Run(name, func(t *testing.T) {
			p.granted.Store(loadRoles(t, c.parameters))
			env := map[string]string{
				"IMAGE_MODEL": "bedrock", "IMAGE_REGION": c.region, "AWS_ACCESS_KEY_ID": c.function, "AWS_SECRET_ACCESS_KEY": "local",
				"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": aws.URL,
			}
			painter, err := bedrock.FromEnv(func(name string) string { return env[name] })
			if err != nil {
				t.Fatal(err)
			}
			for steps := tools.MinSteps; steps <= tools.MaxSteps; steps++ {
				_, err := painter.Paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: steps}, func(int) {})
				if c.allowed && err != nil || !c.allowed && (err == nil || !strings.Contains(err.Error(), "not available")) {
					t.Errorf("%d steps: %v", steps, err)
				}
			}
		})
	}
	if p.granted.Load().allowed(call{function: "mcp", action: "bedrock:InvokeModel", resource: "arn:aws:bedrock:us-west-2::foundation-model/stability.sd3-large-v1:0"}) {
		t.Error("mcp may call a model that no number of steps chooses")
	}
}
