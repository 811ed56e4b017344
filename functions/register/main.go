// Function register is dynamic client registration (RFC 7591).
package main

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/awshttp"
	"mcp-access-oauth/shared/clients"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/oauth"
	"mcp-access-oauth/shared/safehttp"
	"mcp-access-oauth/shared/table/dynamo"
)

func main() { awshttp.Run(build, awshttp.StartAPI) }

func build(env func(string) string, log *slog.Logger) (http.Handler, error) {
	server, err := config.LoadServer(env)
	if err != nil {
		return nil, err
	}
	settings, err := config.LoadClients(env)
	if err != nil {
		return nil, err
	}
	table, err := dynamo.FromEnv(env, time.Now)
	if err != nil {
		return nil, err
	}
	return clients.NewRegistrationHandler(&clients.Registrar{
		Table: table, Now: time.Now, Rand: rand.Reader, NativeSchemes: server.NativeSchemes,
		Scopes:   oauth.SupportedScopes(server.Policy.Scopes()),
		Limit:    &clients.Limiter{Table: table, Now: time.Now, Rand: rand.Reader, PerMinute: settings.RegistrationsPerMinute},
		CheckURL: clients.NewFetcher(&safehttp.Client{AllowLoopback: settings.AllowLoopbackDocuments}).CheckURL,
		Audit:    audit.New(log),
	}), nil
}
