package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"mcp-access-oauth/infra/local/demo"
	"mcp-access-oauth/shared/seal"
	"mcp-access-oauth/shared/seal/kms/kmstest"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/tools/bedrock/bedrocktest"
	"mcp-access-oauth/test/dynalite"
)

// What AWS would make up for us.
const (
	stackName   = "local"
	region      = "us-east-1"
	tableName   = "mcp-access-oauth"
	secretARN   = "arn:aws:secretsmanager:us-east-1:000000000000:secret:client-secret-AbCdEf"
	demoClient  = "mcp-access-oauth"
	demoAllowed = "employee1@mycompany.com,teammate1@mycompany.com"
)

// cloud is what stands around the functions: DynamoDB, KMS, Secrets Manager, Bedrock's image models and the identity
// provider.
type cloud struct {
	parameters map[string]string
	attributes map[string]string
	overrides  map[string]string // variables that sam local's --env-vars file would override too

	permissions *permissions // of the functions, for calls of everything here

	closers []func()
}

func (c *cloud) close() {
	for i := len(c.closers) - 1; i >= 0; i-- {
		c.closers[i]()
	}
}

func startCloud(ctx context.Context, s settings, log io.Writer) (_ *cloud, err error) {
	issuer := fmt.Sprintf("http://localhost:%d", s.port)
	mcpOrigin := fmt.Sprintf("http://localhost:%d/", s.port+1)
	provider := fmt.Sprintf("http://127.0.0.1:%d", s.port+2)
	c := &cloud{
		permissions: &permissions{log: slog.New(slog.NewTextHandler(log, nil))},
		parameters: map[string]string{
			"AccessIssuer": provider, "AccessClientId": demoClient, "AccessClientSecretArn": secretARN,
			"AllowedEmails": demoAllowed, "LocalEndpoints": "true",
		},
		attributes: map[string]string{
			"Table": tableName, "Table.Arn": tableARN(tableName), "Key.Arn": kmstest.KeyARN, "HttpApi": "local", "McpFunctionUrl.FunctionUrl": mcpOrigin,
			"AWS::StackName": stackName, "AWS::Region": region, "AWS::URLSuffix": "amazonaws.com",
			"AWS::Partition": "aws", "AWS::AccountId": "000000000000",
		},
	}
	maps.Copy(c.parameters, s.parameters)
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	data := s.data
	if data == "" {
		if data, err = os.MkdirTemp("", "mcp-access-oauth-"); err != nil {
			return nil, fmt.Errorf("making a folder for the stack: %w", err)
		}
		c.closers = append(c.closers, func() { _ = os.RemoveAll(data) })
	} else if err = os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("making DATA_DIR: %w", err)
	}
	tables := ""
	if s.data != "" {
		tables = filepath.Join(data, "dynalite")
	}
	tableURL, err := c.startDynamoDB(ctx, tables, log)
	if err != nil {
		return nil, err
	}
	dynamoURL, err := c.listen("127.0.0.1:0", c.permissions.guard(httputil.NewSingleHostReverseProxy(tableURL)))
	if err != nil {
		return nil, err
	}
	master, err := masterSecret(filepath.Join(data, "master-secret"))
	if err != nil {
		return nil, err
	}
	// Derived, so that the keyset record and the demo provider's registration outlive a restart on the same folder.
	kms := kmstest.NewFrom(seal.DeriveKey(master, "stack kms"))
	clientSecret := seal.DeriveKey(master, "stack client secret")
	secret := hex.EncodeToString(clientSecret[:])
	var models http.Handler = bedrocktest.New()
	if s.bedrock != nil {
		models = httputil.NewSingleHostReverseProxy(s.bedrock)
	}
	awsURL, err := c.listen("127.0.0.1:0", c.permissions.guard(byTarget(kms, secretsManager(secretARN, cmp.Or(s.clientSecret, secret)), models)))
	if err != nil {
		return nil, err
	}
	idp, err := demo.New(demo.Config{
		Issuer: provider, DataDir: data, ClientID: demoClient, ClientSecret: secret, RedirectURIs: []string{issuer + "/callback"},
	})
	if err != nil {
		return nil, fmt.Errorf("starting the demo identity provider: %w", err)
	}
	if _, err = c.listen(strings.TrimPrefix(provider, "http://"), idp); err != nil {
		return nil, err
	}
	c.overrides = map[string]string{
		"ISSUER": issuer, "MCP_URL": mcpOrigin + "mcp",
		"AWS_ENDPOINT_URL_DYNAMODB": dynamoURL, "AWS_ENDPOINT_URL_KMS": awsURL, "AWS_ENDPOINT_URL_SECRETS_MANAGER": awsURL,
		"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": awsURL,
	}
	if s.loopbackDocuments != "" {
		c.overrides["ALLOW_LOOPBACK_DOCUMENTS"] = s.loopbackDocuments
	}
	return c, nil
}

func (c *cloud) startDynamoDB(ctx context.Context, folder string, log io.Writer) (*url.URL, error) {
	server, err := dynalite.Start(context.WithoutCancel(ctx), dynalite.Options{Data: folder, Log: log})
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, func() { _ = server.Close() })
	client := dynamodb.New(dynamodb.Options{
		Region: region, BaseEndpoint: &server.Endpoint,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
		}),
	})
	if err := dynamo.CreateTable(ctx, client, tableName); err != nil {
		return nil, fmt.Errorf("creating the table: %w", err)
	}
	return url.Parse(server.Endpoint)
}

// tableARN is what policies call a table.
func tableARN(name string) string {
	return "arn:aws:dynamodb:" + region + ":000000000000:table/" + name
}

func (c *cloud) listen(address string, handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("listening on %s: %w; choose another port with PORT=", address, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // until close
	c.closers = append(c.closers, func() { _ = server.Close() })
	return "http://" + listener.Addr().String(), nil
}

// environment is what a function finds: its own variables, the overrides of those it declares, and Lambda's.
func (c *cloud) environment(f function) []string {
	variables := map[string]string{
		"AWS_REGION": region, "AWS_ACCESS_KEY_ID": f.folder, "AWS_SECRET_ACCESS_KEY": "local",
		"AWS_LAMBDA_FUNCTION_NAME": f.folder, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"_HANDLER": "bootstrap", "TZ": ":UTC", "PATH": os.Getenv("PATH"),
		"SSL_CERT_FILE": os.Getenv("SSL_CERT_FILE"), // certificates that Go trusts instead of this machine's
	}
	for name, value := range f.environment {
		if override, ok := c.overrides[name]; ok {
			value = override
		}
		variables[name] = value
	}
	list := make([]string, 0, len(variables))
	for name, value := range variables {
		list = append(list, name+"="+value)
	}
	return list
}

// byTarget sends each call to the service that its X-Amz-Target names, and those of Bedrock, which have none, by their
// path.
func byTarget(kms, secrets, bedrock http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := bedrocktest.ModelID(r.URL.Path); ok {
			bedrock.ServeHTTP(w, r)
			return
		}
		service, _, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		switch service {
		case "TrentService":
			kms.ServeHTTP(w, r)
		case "secretsmanager":
			secrets.ServeHTTP(w, r)
		default:
			http.Error(w, `{"__type": "UnknownOperationException"}`, http.StatusBadRequest)
		}
	})
}

// masterSecret is 32 random bytes, the same at every start on the same folder.
func masterSecret(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		raw = make([]byte, 32)
		_, _ = rand.Read(raw) // never fails
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the stack's secret: %w", err)
	}
	return raw, nil
}
