package bedrock

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/shared/tools/bedrock/bedrocktest"
)

// TestFailures: each way to fail is told in words that help, retried where that can help, and leaves its cause in the
// log where an operator may have to look.
func TestFailures(t *testing.T) {
	failure := bedrocktest.Failure
	broken := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	huge := strings.Repeat("x", maxAnswer)
	for name, c := range map[string]struct {
		answer http.Handler
		told   string // "" means that the person learns only that the server failed
		calls  int
		logged string // of the fault; "" means none
	}{
		"throttled":           {failure(429, "ThrottlingException", "Too many requests"), "too much to do", 3, "Too many requests"},
		"throttled as 400":    {failure(400, "ThrottlingException", "Rate exceeded"), "too much to do", 3, "Rate exceeded"},
		"quota":               {failure(400, "ServiceQuotaExceededException", "quota"), "too much to do", 1, "quota"},
		"not ready":           {failure(429, "ModelNotReadyException", "starting"), "too much to do", 1, "starting"},
		"service unavailable": {failure(503, "ServiceUnavailableException", "capacity"), "too much to do", 3, "capacity"},
		"another 429":         {failure(429, "Whatever", ""), "too much to do", 1, "429"},
		"model's timeout":     {failure(408, "ModelTimeoutException", "took too long"), "did not answer in time", 1, "took too long"},
		"model's error":       {failure(424, "ModelErrorException", "CUDA"), "failed while it was painting", 1, "CUDA"},
		"internal":            {failure(500, "InternalServerException", "oops"), "failed while it was painting", 3, "oops"},
		"gateway":             {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }), "failed while it was painting", 3, "502"},
		"connection cut":      {broken, "cannot be reached", 3, "EOF"},

		"denied":          {failure(403, "AccessDeniedException", "User: arn:aws:sts::1:x is not authorized to perform: bedrock:InvokeModel"), "not available", 1, "not authorized to perform"},
		"not subscribed":  {failure(403, "MPAgreementBeingCreated", "subscription"), "not available", 1, "subscription"},
		"not signed":      {failure(403, "UnrecognizedClientException", "token is invalid"), "not available", 1, "token is invalid"},
		"no credentials":  {failure(401, "UnauthorizedException", "credentials"), "not available", 1, "credentials"},
		"end of life":     {failure(404, "ResourceNotFoundException", "This model version has reached the end of its life."), "not available", 1, "end of its life"},
		"account":         {failure(400, "ValidationException", "Operation not allowed"), "not available", 1, "Operation not allowed"},
		"region":          {failure(400, "ValidationException", "The provided model identifier is invalid."), "not available", 1, "identifier"},
		"profile":         {failure(400, "ValidationException", "Invocation of model ID x with on-demand throughput isn’t supported."), "not available", 1, "throughput"},
		"invalid":         {failure(400, "ValidationException", `{"detail":"prompt"}`), "does not accept this prompt", 1, "detail"},
		"unknown refusal": {failure(418, "TeapotException", "short and stout"), "", 1, ""},

		"filter, prompt":   {bedrocktest.Withheld("Filter reason: prompt"), "content filter refused the prompt", 1, ""},
		"filter, short":    {bedrocktest.Body(`{"finish_reasons":["Filter reason: prompt"]}`), "content filter refused the prompt", 1, ""},
		"filter, output":   {bedrocktest.Withheld("Filter reason: output image"), "content filter withheld the image", 1, ""},
		"filter, other":    {bedrocktest.Withheld("Filter reason: copyright"), `content filter refused: "copyright"`, 1, ""},
		"inference":        {bedrocktest.Withheld("Inference error"), "failed while it was painting", 1, ""},
		"filter and image": {bedrocktest.Body(`{"finish_reasons":["Filter reason: output image"],"images":["iVBORw0KGgo="]}`), "content filter withheld the image", 1, ""},

		"other reason":     {bedrocktest.Withheld("because"), "", 1, ""},
		"no reasons":       {bedrocktest.Body(`{"seeds":[1],"images":["iVBORw0KGgo="]}`), "", 1, ""},
		"no image":         {bedrocktest.Body(`{"seeds":[1],"finish_reasons":[null],"images":[]}`), "", 1, ""},
		"an image of HTML": {bedrocktest.Body(`{"finish_reasons":[null],"images":["PGh0bWw+PC9odG1sPg=="]}`), "", 1, ""},
		"an empty image":   {bedrocktest.Body(`{"finish_reasons":[null],"images":[""]}`), "", 1, ""},
		"not base64":       {bedrocktest.Body(`{"finish_reasons":[null],"images":["***"]}`), "", 1, ""},
		"not JSON":         {bedrocktest.Body(`<html>`), "", 1, ""},
		"cut JSON":         {bedrocktest.Body(`{"finish_reasons":[null],"images":["iVBO`), "", 1, ""},
		"too large":        {bedrocktest.Body(`{"finish_reasons":[null],"images":["` + huge + `"]}`), "", 1, ""},
		"too large error":  {failure(400, "ValidationException", huge[:2*maxRefusal]), "", 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, nil)
			r.Answer(c.answer, -1)
			picture, steps, line, err := r.paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: 4})
			if err == nil || len(picture.Data) != 0 || len(steps) == 4 {
				t.Fatalf("a picture of %d bytes after %d steps, error %v", len(picture.Data), len(steps), err)
			}
			switch got := told(err); {
			case c.told == "" && got != "", !strings.Contains(got, c.told):
				t.Errorf("told %q, want %q; the cause is %v", got, c.told, err)
			case strings.Contains(got, "arn:"), strings.Contains(got, "Exception"), strings.Contains(got, "http"):
				t.Errorf("told internals: %s", got)
			}
			if n := len(r.Calls()); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
			if logged := strings.Contains(line, " fault="); logged != (c.logged != "") || !strings.Contains(line, c.logged) || len(line) > 2*maxRefusal {
				t.Errorf("the log has %.2000s", line)
			}
			if c.told == "" && !strings.Contains(err.Error(), "stable-image-core") {
				t.Errorf("the cause %v does not name the model", err)
			}
		})
	}
}

// TestRetry: a passing fault costs a person nothing but time.
func TestRetry(t *testing.T) {
	r := newRegion(t, nil)
	r.Answer(bedrocktest.Failure(429, "ThrottlingException", "Too many requests"), 2)
	picture, steps, line, err := r.paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: 4})
	if err != nil || picture.MIMEType != "image/jpeg" || len(steps) != 4 || strings.Contains(line, "fault") || len(r.Calls()) != 3 {
		t.Errorf("%d calls, %d steps, error %v, log %s", len(r.Calls()), len(steps), err, line)
	}
}

// TestUnreachable: nobody is there, as in a region that does not exist.
func TestUnreachable(t *testing.T) {
	r := newRegion(t, nil)
	r.url = "http://127.0.0.1:1"
	_, _, line, err := r.paint(context.Background(), tools.PaintRequest{Prompt: "fox", Steps: 4})
	if !strings.Contains(told(err), "cannot be reached") || !strings.Contains(line, "refused") {
		t.Errorf("error %v, log %s", err, line)
	}
}

// TestStandIn: what the stand-in refuses by itself is told too.
func TestStandIn(t *testing.T) {
	r := newRegion(t, nil)
	_, _, _, err := r.paint(t.Context(), tools.PaintRequest{Prompt: "something " + bedrocktest.Filtered, Steps: 4})
	if !strings.Contains(told(err), "content filter refused the prompt") {
		t.Errorf("error %v", err)
	}
	_, _, _, err = r.paint(t.Context(), tools.PaintRequest{Steps: 4})
	if !strings.Contains(told(err), "does not accept this prompt") {
		t.Errorf("error %v", err)
	}
}

// TestManual: the operator finds each of these in the manual, by the words that a person reports.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for words, message := range map[string]error{
		"not available on this server": unavailable, "has too much to do now": busy, "did not answer in time": slow,
		"failed while it was painting": failed, "cannot be reached": unreachable, "does not accept this prompt": unfit,
		"content filter refused": withheld("Filter reason: prompt"),
	} {
		if !strings.Contains(message.Error(), words) || !strings.Contains(string(manual), "\n| "+words) {
			t.Errorf("%q is told as %q, and the manual has no row of it", words, message)
		}
	}
}
