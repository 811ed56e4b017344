package awsconfig

import "testing"

func TestLoad(t *testing.T) {
	settings := map[string]string{}
	env := func(name string) string { return settings[name] }
	if _, err := Load(env, "dynamodb"); err == nil {
		t.Error("loaded without a region")
	}
	settings["AWS_REGION"] = "eu-west-1"
	cfg, err := Load(env, "dynamodb")
	if err != nil || cfg.Region != "eu-west-1" || cfg.BaseEndpoint != nil {
		t.Fatalf("config %+v, %v", cfg, err)
	}
	if _, err := cfg.Credentials.Retrieve(t.Context()); err == nil {
		t.Error("credentials without keys")
	}
	settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"], settings["AWS_SESSION_TOKEN"] = "id", "secret", "session"
	settings["AWS_ENDPOINT_URL_DYNAMODB"] = "http://127.0.0.1:8000"
	if cfg, err = Load(env, "dynamodb"); err != nil || cfg.BaseEndpoint == nil || *cfg.BaseEndpoint != "http://127.0.0.1:8000" {
		t.Fatalf("config %+v, %v", cfg, err)
	}
	if c, err := cfg.Credentials.Retrieve(t.Context()); err != nil || c.AccessKeyID != "id" || c.SessionToken != "session" {
		t.Errorf("credentials of %s: %v", c.AccessKeyID, err)
	}
}
