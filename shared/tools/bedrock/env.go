package bedrock

import (
	"errors"

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
	return New(Config{Client: func() *bedrockruntime.Client { return bedrockruntime.NewFromConfig(cfg) }}), nil
}
