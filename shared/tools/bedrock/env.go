package bedrock

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"mcp-access-oauth/shared/awsconfig"
	"mcp-access-oauth/shared/config"
	"mcp-access-oauth/shared/tools"
)

// FromEnv is the painter that IMAGE_MODEL chooses: the preview, or Amazon Bedrock in IMAGE_REGION. It makes no call, and
// builds the client only when there is something to paint.
func FromEnv(env func(string) string) (tools.Painter, error) {
	images, err := config.LoadImages(env)
	if err != nil {
		return nil, err
	}
	if !images.Bedrock {
		return tools.Preview{}, nil
	}
	cfg, err := awsconfig.Load(func(name string) string {
		if name == "AWS_REGION" { // few regions have the models, and the function may stand in any
			return images.Region
		}
		return env(name)
	}, "bedrock_runtime")
	if err != nil {
		return nil, err
	}
	if env("AWS_ACCESS_KEY_ID") == "" || env("AWS_SECRET_ACCESS_KEY") == "" {
		return nil, errors.New("AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is empty; IMAGE_MODEL=bedrock needs AWS credentials in the environment")
	}
	return New(Config{Client: func() *bedrockruntime.Client { return newClient(cfg) }}), nil
}

// newClient makes a client that keeps no connection. A function is frozen between its requests, and a connection that
// died meanwhile would cost a picture all its patience; a new one costs some hundredths of the time that it takes to
// paint.
func newClient(cfg aws.Config) *bedrockruntime.Client {
	cfg.HTTPClient = awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 5 * time.Second }).
		WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })
	return bedrockruntime.NewFromConfig(cfg, func(o *bedrockruntime.Options) {
		o.AuthSchemePreference = []string{"sigv4"} // the SDK would look for a bearer token in the process's environment
	})
}
