package journeys

import (
	"context"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"mcp-access-oauth/test/deployment"
	"mcp-access-oauth/test/robot"
)

// goSDK is the official Go SDK's client, over HTTP or in front of mcp-remote.
type goSDK struct {
	session  *mcp.ClientSession
	progress *atomic.Int64
}

// connectGoSDK connects with the newest protocol version, or with version when it is not empty.
func connectGoSDK(ctx context.Context, transport mcp.Transport, version string) (goSDK, error) {
	progress := &atomic.Int64{}
	client := mcp.NewClient(&mcp.Implementation{Name: "Go SDK journey", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { progress.Add(1) },
	})
	session, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	return goSDK{session, progress}, err
}

func (c goSDK) Tools(ctx context.Context) ([]string, error) {
	list, err := c.session.ListTools(ctx, nil)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names, nil
}

func (c goSDK) Call(ctx context.Context, tool string, arguments map[string]any) (answer, error) {
	c.progress.Store(0)
	params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
	params.SetProgressToken(tool)
	result, err := c.session.CallTool(ctx, params)
	var refused *jsonrpc.Error
	if errors.As(err, &refused) {
		return answer{Refusal: refused.Message}, nil
	}
	if err != nil {
		return answer{}, err
	}
	got := answer{Failed: result.IsError}
	for _, content := range result.Content {
		switch content := content.(type) {
		case *mcp.TextContent:
			got.Text += content.Text
		case *mcp.ImageContent:
			got.Images++
		}
	}
	// The SDK hands notifications over beside the result: those that came first may still be on their way.
	for deadline := time.Now().Add(time.Second); got.Images > 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c.progress.Load() >= 5 {
			break
		}
	}
	got.Progress = int(c.progress.Load())
	return got, nil
}

const goSDKRedirect = "http://127.0.0.1:33419/callback"

// goSDKTransport signs in on its own when the server asks for it, in the browser. It registers itself; change may have it
// do otherwise.
func goSDKTransport(t *testing.T, d *deployment.Deployment, browser *robot.Browser, change func(*auth.AuthorizationCodeHandlerConfig)) mcp.Transport {
	t.Helper()
	config := &auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "Go SDK journey", RedirectURIs: []string{goSDKRedirect},
			GrantTypes: []string{"authorization_code", "refresh_token"}, TokenEndpointAuthMethod: "none",
		}},
		RequestRefreshToken: true,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			if asked, err := url.Parse(args.URL); err != nil || asked.Query().Get("code_challenge_method") != "S256" || asked.Query().Get("resource") != d.MCPURL {
				t.Errorf("it asks for %s", args.URL)
			}
			response, err := browser.Authorize(ctx, args.URL)
			if err != nil {
				return nil, err
			}
			return &auth.AuthorizationResult{Code: response.Get("code"), State: response.Get("state"), Iss: response.Get("iss")}, nil
		},
	}
	if change != nil {
		change(config)
	}
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	return &mcp.StreamableClientTransport{Endpoint: d.MCPURL, OAuthHandler: handler}
}

func TestGoSDK(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	versions := map[string]string{"newest": "", "2025-11-25": "2025-11-25", "2025-06-18": "2025-06-18", "2025-03-26": "2025-03-26"}
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			everyone(t, func(t *testing.T, email string) {
				client, err := connectGoSDK(t.Context(), goSDKTransport(t, d, robot.New(email), nil), version)
				if err != nil {
					t.Fatal(err)
				}
				defer client.session.Close()
				if got := client.session.InitializeResult().ProtocolVersion; version != "" && got != version || version == "" && got != "2026-07-28" {
					t.Errorf("the session speaks %s", got)
				}
				journey{client, true}.check(t, email)
			})
		})
	}
}

// A client whose access token has expired refreshes it, again and again, without the person.
func TestGoSDKRefreshes(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	var source *alwaysExpired
	browser := robot.New(deployment.Employee)
	transport := goSDKTransport(t, d, browser, func(config *auth.AuthorizationCodeHandlerConfig) {
		config.NewTokenSource = func(_ context.Context, config *oauth2.Config, token *oauth2.Token) (oauth2.TokenSource, error) {
			source = &alwaysExpired{config: config, token: token}
			return source, nil
		}
	})
	client, err := connectGoSDK(t.Context(), transport, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.session.Close()
	journey{client, true}.check(t, deployment.Employee)
	if source == nil || source.refreshes.Load() < 3 {
		t.Fatal("the client did not refresh")
	}
	if count := browser.Count("/callback"); count != 1 {
		t.Errorf("the person signed in %d times", count)
	}
}

// alwaysExpired refreshes before every request.
type alwaysExpired struct {
	config    *oauth2.Config
	token     *oauth2.Token
	refreshes atomic.Int64
}

func (s *alwaysExpired) Token() (*oauth2.Token, error) {
	old := *s.token
	old.Expiry = time.Now().Add(-time.Hour)
	token, err := s.config.TokenSource(context.Background(), &old).Token()
	if err != nil {
		return nil, err
	}
	s.refreshes.Add(1)
	s.token = token
	return token, nil
}
