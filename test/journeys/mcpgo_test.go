package journeys

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"

	"mcp-access-oauth/test/robot"
)

// mcpGo is mcp-go's own client.
type mcpGo struct {
	client   *client.Client
	progress *atomic.Int64
}

// connectMCPGo connects as an application built on mcp-go does: it tries, is told to sign in, and tries again.
func connectMCPGo(t *testing.T, email string, tokens client.TokenStore, open func(client.OAuthConfig) (*client.Client, error)) (mcpGo, error) {
	ctx := t.Context()
	c, err := open(client.OAuthConfig{RedirectURI: "http://127.0.0.1:33420/callback", TokenStore: tokens, PKCEEnabled: true})
	if err != nil {
		return mcpGo{}, err
	}
	t.Cleanup(func() { c.Close() })
	progress := &atomic.Int64{}
	c.OnNotification(func(notification mcp.JSONRPCNotification) {
		if notification.Method == "notifications/progress" {
			progress.Add(1)
		}
	})
	initialize := func() error {
		if err := c.Start(ctx); err != nil {
			return err
		}
		request := mcp.InitializeRequest{}
		request.Params.ClientInfo = mcp.Implementation{Name: "mcp-go journey", Version: "1"}
		request.Params.ProtocolVersion = mcp.LATEST_PROTOCOL_VERSION
		_, err := c.Initialize(ctx, request)
		return err
	}
	if err := initialize(); err == nil || !client.IsOAuthAuthorizationRequiredError(err) {
		return mcpGo{}, fmt.Errorf("without a token: %w", err)
	} else if err := authorizeMCPGo(ctx, err, email); err != nil {
		return mcpGo{}, err
	}
	return mcpGo{c, progress}, initialize()
}

func authorizeMCPGo(ctx context.Context, required error, email string) error {
	handler := client.GetOAuthHandler(required)
	handler.SetProtectedResourceMetadataURL(client.GetResourceMetadataURL(required))
	if err := handler.RegisterClient(ctx, "mcp-go journey"); err != nil {
		return err
	}
	verifier, err := client.GenerateCodeVerifier()
	if err != nil {
		return err
	}
	state, err := client.GenerateState()
	if err != nil {
		return err
	}
	address, err := handler.GetAuthorizationURL(ctx, state, client.GenerateCodeChallenge(verifier))
	if err != nil {
		return err
	}
	asked, err := url.Parse(address)
	if err != nil {
		return err
	}
	if asked.Query().Get("code_challenge_method") != "S256" || asked.Query().Get("resource") == "" {
		return fmt.Errorf("it asks for %s", address)
	}
	response, err := robot.New(email).Authorize(ctx, address)
	if err != nil {
		return err
	}
	return handler.ProcessAuthorizationResponse(ctx, response.Get("code"), response.Get("state"), verifier)
}

func (c mcpGo) Tools(ctx context.Context) ([]string, error) {
	list, err := c.client.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	return names, nil
}

func (c mcpGo) Call(ctx context.Context, tool string, arguments map[string]any) (answer, error) {
	c.progress.Store(0)
	request := mcp.CallToolRequest{}
	request.Params.Name = tool
	request.Params.Arguments = arguments
	request.Params.Meta = &mcp.Meta{ProgressToken: tool}
	result, err := c.client.CallTool(ctx, request)
	if errors.Is(err, mcp.ErrInvalidParams) {
		return answer{Refusal: err.Error()}, nil
	}
	if err != nil {
		return answer{}, err
	}
	got := answer{Failed: result.IsError}
	for _, content := range result.Content {
		switch content := content.(type) {
		case mcp.TextContent:
			got.Text += content.Text
		case mcp.ImageContent:
			got.Images++
		}
	}
	for deadline := time.Now().Add(time.Second); got.Images > 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c.progress.Load() >= 5 {
			break
		}
	}
	got.Progress = int(c.progress.Load())
	return got, nil
}

func TestMCPGo(t *testing.T) {
	d := shared.Use(t)
	t.Parallel()
	transports := map[string]func(client.OAuthConfig) (*client.Client, error){
		"modern": func(config client.OAuthConfig) (*client.Client, error) {
			return client.NewOAuthStreamableHttpClient(d.MCPURL, config)
		},
		"legacy": func(config client.OAuthConfig) (*client.Client, error) {
			c, err := client.NewOAuthStreamableHttpClient(d.MCPURL, config)
			if err == nil {
				//lint:ignore SA1019 clients of the legacy era are what this tests
				client.WithLegacyProtocolOnly()(c)
			}
			return c, err
		},
		"sse": func(config client.OAuthConfig) (*client.Client, error) {
			return client.NewOAuthSSEClient(strings.TrimSuffix(d.MCPURL, "/mcp")+"/sse", config)
		},
	}
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			everyone(t, func(t *testing.T, email string) {
				tokens := client.NewMemoryTokenStore()
				c, err := connectMCPGo(t, email, tokens, open)
				if err != nil {
					t.Fatal(err)
				}
				journey{c, true}.check(t, email)
				// It finds its access token expired, and refreshes.
				old, err := tokens.GetToken(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				expired := *old
				expired.ExpiresAt = time.Now().Add(-time.Minute)
				if err := tokens.SaveToken(t.Context(), &expired); err != nil {
					t.Fatal(err)
				}
				journey{c, true}.check(t, email)
				if renewed, err := tokens.GetToken(t.Context()); err != nil || renewed.AccessToken == old.AccessToken {
					t.Errorf("it did not refresh: %v", err)
				}
			})
		})
	}
}
