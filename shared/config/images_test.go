package config

import (
	"strings"
	"testing"
)

func TestLoadImages(t *testing.T) {
	for _, c := range []struct {
		env  Env
		want Images
	}{
		{env(), Images{false, "us-west-2"}},
		{env("IMAGE_MODEL", "preview", "IMAGE_REGION", "eu-central-1"), Images{false, "eu-central-1"}},
		{env("IMAGE_MODEL", "bedrock"), Images{true, "us-west-2"}},
		{env("IMAGE_MODEL", "bedrock", "IMAGE_REGION", "us-gov-west-1"), Images{true, "us-gov-west-1"}},
	} {
		if got, err := LoadImages(c.env); err != nil || got != c.want {
			t.Errorf("settings %+v, %v, want %+v", got, err, c.want)
		}
	}
	for _, c := range []struct {
		variable string
		env      Env
	}{
		{"IMAGE_MODEL", env("IMAGE_MODEL", "Bedrock")},
		{"IMAGE_MODEL", env("IMAGE_MODEL", "flux")},
		{"IMAGE_REGION", env("IMAGE_MODEL", "bedrock", "IMAGE_REGION", "oregon")},
		{"IMAGE_REGION", env("IMAGE_REGION", "us-west-2.example.com/")}, // it becomes part of a host name
	} {
		if _, err := LoadImages(c.env); err == nil || !strings.HasPrefix(err.Error(), c.variable+" ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line that begins with %s", err, c.variable)
		}
	}
}
