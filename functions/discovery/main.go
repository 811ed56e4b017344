// Function discovery serves the authorization server's metadata, and answers 404 to every path that no one else has.
package main

import (
	"log/slog"
	"net/http"

	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/oauth"
)

func main() { awshttp.Run(build, awshttp.StartAPI) }

func build(env func(string) string, _ *slog.Logger) (http.Handler, error) {
	server, err := config.LoadServer(env)
	if err != nil {
		return nil, err
	}
	return oauth.NewDiscovery(server.Issuer, server.Resource, server.Policy.Scopes()), nil
}
