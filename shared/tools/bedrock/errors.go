package bedrock

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/tools"
)

// What a person is told. Only an operator can help with unavailable, whose cause is in the log.
var (
	busy        = tools.Errorf("The image model has too much to do now. Try again in a minute.")
	slow        = tools.Errorf("The image model did not answer in time. Try again, perhaps with fewer steps, which choose a faster model.")
	failed      = tools.Errorf("The image model failed while it was painting. Try again.")
	unreachable = tools.Errorf("The image model cannot be reached now. Try again in a minute.")
	unavailable = tools.Errorf("This image model is not available on this server. Another number of steps chooses another model; the server's operator can read the cause in its log.")
	unfit       = tools.Errorf("The image model does not accept this prompt. Put it in other words, in English.")
)

// explain turns a failed call into what the person is told, and puts the cause on the request's log line. It returns an
// error that is told as a fault of this server where the call's own context ended, or nothing more precise is known.
func explain(ctx context.Context, m model, cause error) error {
	cause = fmt.Errorf("painting with %s: %w", m.id, cause)
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errPatience) {
		return fmt.Errorf("%w: %w", cause, ctx.Err())
	}
	told := meaning(ctx, cause)
	if told == nil {
		return cause
	}
	audit.Fault(ctx, cause)
	return told
}

func meaning(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return slow
	}
	if refusal, ok := errors.AsType[smithy.APIError](cause); ok {
		switch refusal.ErrorCode() {
		case "ThrottlingException", "ServiceQuotaExceededException", "ServiceUnavailableException", "ModelNotReadyException":
			return busy
		case "ModelTimeoutException":
			return slow
		case "ModelErrorException":
			return failed
		case "AccessDeniedException", "ResourceNotFoundException": // the second also at a model's end of life
			return unavailable
		case "ValidationException":
			if ofAccount(refusal.ErrorMessage()) {
				return unavailable
			}
			return unfit
		}
	}
	if answer, ok := errors.AsType[*awshttp.ResponseError](cause); ok {
		switch status := answer.HTTPStatusCode(); {
		case status == http.StatusTooManyRequests:
			return busy
		case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound:
			return unavailable
		case status >= 500:
			return failed
		}
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](cause); ok {
		return unreachable
	}
	return nil
}

// ofAccount reports whether a ValidationException speaks of the account or the region and not of the prompt: Bedrock
// answers so where a subscription failed ("Operation not allowed"), and where the region does not have the model ("The
// provided model identifier is invalid", "... with on-demand throughput isn't supported").
func ofAccount(message string) bool {
	message = strings.ToLower(message)
	for _, sign := range []string{"not allowed", "model identifier", "on-demand throughput"} {
		if strings.Contains(message, sign) {
			return true
		}
	}
	return false
}

// withheld is what a person is told where the model finished without a picture to show.
func withheld(reason string) error {
	switch reason {
	case "Filter reason: prompt":
		return tools.Errorf("The image model's content filter refused the prompt, so there is no image. Put it in other words and try again.")
	case "Filter reason: output image":
		return tools.Errorf("The image model painted, but its content filter withheld the image. Put the prompt in other words, or try again.")
	case "Inference error":
		return failed
	}
	if filter, ok := strings.CutPrefix(reason, "Filter reason: "); ok {
		return tools.Errorf("The image model's content filter refused: %.80q. Put the prompt in other words and try again.", filter)
	}
	return fmt.Errorf("the model finished with %.200q", reason)
}
