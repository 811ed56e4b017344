package bedrock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
)

const (
	// maxAnswer bounds a model's answer. A JPEG of one megapixel is well under 1 MB, a third more in base64.
	maxAnswer = 6 << 20
	// maxRefusal bounds an error's answer, of which the message reaches the log.
	maxRefusal = 16 << 10
)

// request is what the three models take; seed is left out, which means a random one. JPEG, because clients bound what
// a tool may answer, and a PNG is several times as large.
type request struct {
	Prompt       string `json:"prompt"`
	AspectRatio  string `json:"aspect_ratio"`
	OutputFormat string `json:"output_format"`
}

// response is what the three models answer. A refusal comes with status 200 too, and without images.
type response struct {
	Images        [][]byte  `json:"images"`
	FinishReasons []*string `json:"finish_reasons"`
}

type painted struct {
	data     []byte
	mimeType string
}

// errPatience is the cause of a context that ended because a picture took too long.
var errPatience = errors.New("the model took too long")

// invoke asks for one picture.
func (p *Painter) invoke(ctx context.Context, m model, prompt string) (painted, error) {
	body, err := json.Marshal(request{prompt, "1:1", "jpeg"})
	if err != nil {
		return painted{}, fmt.Errorf("encoding request: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.patience, errPatience)
	defer cancel()
	out, err := p.client().InvokeModel(ctx, &bedrockruntime.InvokeModelInput{
		ModelId: &m.id, ContentType: aws.String("application/json"), Accept: aws.String("application/json"), Body: body,
	}, p.bounded)
	if err != nil {
		return painted{}, explain(ctx, m, err)
	}
	picture, err := read(out.Body)
	if err != nil {
		return painted{}, fmt.Errorf("painting with %s: %w", m.id, err)
	}
	return picture, nil
}

// read takes the picture out of a model's answer.
func read(body []byte) (painted, error) {
	var answer response
	if err := json.Unmarshal(body, &answer); err != nil {
		return painted{}, fmt.Errorf("reading the model's answer: %w", err)
	}
	switch {
	case len(answer.FinishReasons) == 0:
		return painted{}, errors.New("the model's answer does not say whether it finished")
	case answer.FinishReasons[0] != nil:
		return painted{}, withheld(*answer.FinishReasons[0])
	case len(answer.Images) == 0:
		return painted{}, errors.New("the model's answer has no image")
	}
	picture := painted{data: answer.Images[0], mimeType: http.DetectContentType(answer.Images[0])}
	switch picture.mimeType {
	case "image/jpeg", "image/png", "image/webp":
		return picture, nil
	}
	return painted{}, fmt.Errorf("the model's image is %s", picture.mimeType)
}

// bounded keeps the SDK's own retries few and short, since a picture is paid for and takes seconds, and its answers
// small.
func (p *Painter) bounded(o *bedrockruntime.Options) {
	o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = 3
		r.MaxBackoff = p.wait
	})
	o.HTTPClient = limited{o.HTTPClient}
}

// limited cuts answers that are too large off.
type limited struct{ client bedrockruntime.HTTPClient }

func (l limited) Do(r *http.Request) (*http.Response, error) {
	answer, err := l.client.Do(r)
	if err != nil {
		return nil, err
	}
	limit := int64(maxAnswer)
	if answer.StatusCode != http.StatusOK {
		limit = maxRefusal
	}
	answer.Body = http.MaxBytesReader(nil, answer.Body, limit)
	return answer, nil
}
