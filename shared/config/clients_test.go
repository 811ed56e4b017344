package config

import (
	"strings"
	"testing"
)

func TestLoadClients(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		want Clients
		err  string // the variable that the error begins with
	}{
		{name: "defaults", want: Clients{RegistrationsPerMinute: 60}},
		{name: "all", env: map[string]string{"CLIENTS_FILE": "c.json", "ALLOW_LOOPBACK_DOCUMENTS": "true", "ISSUER": "http://localhost:8788", "REGISTRATIONS_PER_MINUTE": "5"},
			want: Clients{File: "c.json", AllowLoopbackDocuments: true, RegistrationsPerMinute: 5}},
		{name: "clients without a file", env: map[string]string{"CLIENTS": `{"clients":[]}`}, want: Clients{List: `{"clients":[]}`, RegistrationsPerMinute: 60}},
		{name: "clients twice", env: map[string]string{"CLIENTS": `{"clients":[]}`, "CLIENTS_FILE": "c.json"}, err: "CLIENTS"},
		{name: "loopback documents in production", env: map[string]string{"ALLOW_LOOPBACK_DOCUMENTS": "true", "ISSUER": "https://login.example.com"}, err: "ALLOW_LOOPBACK_DOCUMENTS"},
		{name: "neither true nor false", env: map[string]string{"ALLOW_LOOPBACK_DOCUMENTS": "maybe"}, err: "ALLOW_LOOPBACK_DOCUMENTS"},
		{name: "no registrations", env: map[string]string{"REGISTRATIONS_PER_MINUTE": "0"}, err: "REGISTRATIONS_PER_MINUTE"},
		{name: "not a number", env: map[string]string{"REGISTRATIONS_PER_MINUTE": "many"}, err: "REGISTRATIONS_PER_MINUTE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := LoadClients(func(name string) string { return test.env[name] })
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.err+" ") {
					t.Fatalf("err = %v, want one about %s", err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("LoadClients = %+v, %v", got, err)
			}
		})
	}
}
