package awssecret

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFromARN(t *testing.T) {
	const arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:idp-AbCdEf"
	answer := `{"ARN": "` + arn + `", "SecretString": "hunter2hunter2"}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || !strings.Contains(string(body), arn) {
			t.Errorf("request %s with %s", r.Header.Get("X-Amz-Target"), body)
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	env := map[string]string{
		"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL,
	}
	secret := FromARN(func(name string) string { return env[name] }, arn)
	if got, err := secret(t.Context()); err != nil || got != "hunter2hunter2" {
		t.Errorf("secret of %d characters, %v", len(got), err)
	}
	answer = `{"ARN": "` + arn + `"}`
	if _, err := secret(t.Context()); err == nil || !strings.Contains(err.Error(), "ACCESS_CLIENT_SECRET_ARN") {
		t.Errorf("a secret without text: %v", err)
	}
}
