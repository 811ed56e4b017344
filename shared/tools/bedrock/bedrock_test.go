package bedrock

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"mcp-access-oauth/shared/audit"
	"mcp-access-oauth/shared/tools"
	"mcp-access-oauth/shared/tools/bedrock/bedrocktest"
)

// region is one region's Bedrock, with a painter that uses it through the real client.
type region struct {
	*bedrocktest.Server
	url     string
	painter *Painter
	clients int // that were built
}

func newRegion(t *testing.T, configure func(*Config)) *region {
	t.Helper()
	t.Setenv("AWS_BEARER_TOKEN_BEDROCK", "")
	r := &region{Server: bedrocktest.New()}
	server := httptest.NewServer(r.Server)
	t.Cleanup(server.Close)
	r.url = server.URL
	config := Config{Wait: time.Millisecond, Client: func() *bedrockruntime.Client {
		r.clients++
		return bedrockruntime.New(bedrockruntime.Options{
			BaseEndpoint: &r.url, Region: "us-west-2",
			Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		})
	}}
	if configure != nil {
		configure(&config)
	}
	r.painter = New(config)
	return r
}

// paint paints inside a request, and returns what was reported and the request's log line besides.
func (r *region) paint(ctx context.Context, request tools.PaintRequest) (picture tools.Picture, steps []int, line string, err error) {
	var log bytes.Buffer
	handler := audit.Requests(slog.New(slog.NewTextHandler(&log, nil)), time.Now, func(*http.Request) string { return "1" },
		http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			picture, err = r.painter.Paint(q.Context(), request, func(n int) { steps = append(steps, n) })
		}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/mcp", nil))
	return picture, steps, log.String(), err
}

func upTo(n int) []int {
	steps := make([]int, n)
	for i := range steps {
		steps[i] = i + 1
	}
	return steps
}

// TestModels: each number of steps calls the model that the description names for it.
func TestModels(t *testing.T) {
	r := newRegion(t, nil)
	if r.clients != 0 {
		t.Error("a client was built before there was anything to paint")
	}
	want := map[int][2]string{
		4: {"stability.stable-image-core-v1:1", "Stable Image Core"},
		5: {"stability.stable-image-core-v1:1", "Stable Image Core"},
		6: {"stability.sd3-5-large-v1:0", "Stable Diffusion 3.5 Large"},
		7: {"stability.sd3-5-large-v1:0", "Stable Diffusion 3.5 Large"},
		8: {"stability.stable-image-ultra-v1:1", "Stable Image Ultra"},
	}
	for steps := tools.MinSteps; steps <= tools.MaxSteps; steps++ {
		picture, reported, line, err := r.paint(t.Context(), tools.PaintRequest{Prompt: `a <fox> & "é" 🦊`, Steps: steps})
		if err != nil {
			t.Fatalf("%d steps: %v", steps, err)
		}
		calls := r.Calls()
		if got := calls[len(calls)-1]; got != (bedrocktest.Call{Model: want[steps][0], Region: "us-west-2", Prompt: `a <fox> & "é" 🦊`, AspectRatio: "1:1", OutputFormat: "jpeg"}) {
			t.Errorf("%d steps: called with %+v", steps, got)
		}
		if !slices.Equal(reported, upTo(steps)) {
			t.Errorf("%d steps: reported %v", steps, reported)
		}
		if _, err := jpeg.Decode(bytes.NewReader(picture.Data)); err != nil || picture.MIMEType != "image/jpeg" {
			t.Errorf("%d steps: a picture of type %s: %v", steps, picture.MIMEType, err)
		}
		name := want[steps][1]
		if picture.Model != name+" on Amazon Bedrock" || !strings.Contains(picture.Note, name) || !strings.Contains(r.painter.Steps(), name) {
			t.Errorf("%d steps: painted by %q, with the note %q", steps, picture.Model, picture.Note)
		}
		if strings.Contains(line, "fault") {
			t.Errorf("%d steps: the log has %s", steps, line)
		}
	}
	if r.clients != 1 {
		t.Errorf("%d clients were built", r.clients)
	}
	if got := ModelIDs(); !slices.Equal(got, []string{want[4][0], want[6][0], want[8][0]}) {
		t.Errorf("models %v", got)
	}
}

// TestProgress: while the model works, a step is reported at each tick, the last one only with the picture.
func TestProgress(t *testing.T) {
	var interval time.Duration
	ticks, stopped := make(chan time.Time), false
	r := newRegion(t, func(c *Config) {
		c.Tick = func(d time.Duration) (<-chan time.Time, func()) {
			interval = d
			return ticks, func() { stopped = true }
		}
	})
	release := make(chan struct{})
	working := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		<-release
		bedrocktest.Body(`{"seeds":[1],"finish_reasons":[null],"images":["iVBORw0KGgo="]}`).ServeHTTP(w, q)
	})

	r.Answer(working, 1)
	reports := make(chan int, tools.MaxSteps)
	done := make(chan error)
	go func() {
		_, err := r.painter.Paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: 6}, func(n int) { reports <- n })
		done <- err
	}()
	for want := 1; want <= 5; want++ {
		ticks <- time.Time{}
		if got := <-reports; got != want {
			t.Errorf("tick %d reported step %d", want, got)
		}
	}
	for range 3 { // longer than usual
		ticks <- time.Time{}
	}
	select {
	case n := <-reports:
		t.Errorf("step %d was reported before the picture was there", n)
	default:
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := <-reports; got != 6 || len(reports) != 0 {
		t.Errorf("ended with step %d, and %d more", got, len(reports))
	}
	if interval != models[1].usual/6 || !stopped {
		t.Errorf("ticks every %v, stopped: %v", interval, stopped)
	}

	// A picture that fails is not reported as finished.
	release = make(chan struct{})
	r.Answer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		<-release
		bedrocktest.Withheld("Filter reason: output image").ServeHTTP(w, q)
	}), 1)
	go func() {
		_, err := r.painter.Paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: 4}, func(n int) { reports <- n })
		done <- err
	}()
	ticks <- time.Time{}
	close(release)
	if err := <-done; err == nil {
		t.Error("a withheld picture is a result")
	}
	if got := <-reports; got != 1 || len(reports) != 0 {
		t.Errorf("a withheld picture ended with step %d, and %d more", got, len(reports))
	}
}

// TestRealTicker: without an injected ticker time itself moves the progress.
func TestRealTicker(t *testing.T) {
	ticks, stop := New(Config{Client: func() *bedrockruntime.Client { return nil }}).tick(time.Millisecond)
	defer stop()
	select {
	case <-ticks:
	case <-time.After(10 * time.Second):
		t.Error("the ticker does not tick")
	}
}

// TestPatience: a model that does not answer is given up, and the person is told so.
func TestPatience(t *testing.T) {
	r := newRegion(t, func(c *Config) { c.Patience = 50 * time.Millisecond })
	ended := make(chan struct{})
	r.Answer(hanging(ended), -1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, _, line, err := r.paint(ctx, tools.PaintRequest{Prompt: "fox", Steps: 8})
	if !errors.Is(err, slow) || !strings.Contains(line, "stable-image-ultra") {
		t.Errorf("error %v, log %s", err, line)
	}
	await(t, ended)
	if New(Config{Client: func() *bedrockruntime.Client { return nil }}).patience >= time.Minute {
		t.Error("clients that wait for a minute give up first")
	}
}

// TestCancelled: when the call's own context ends, so does the model's call, and it is no fault of the model.
func TestCancelled(t *testing.T) {
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancelled": context.WithCancel,
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond) // such as Lambda's
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t, nil)
			ctx, cancel := end(t.Context())
			defer cancel()
			ended := make(chan struct{})
			r.Answer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if name == "cancelled" {
					cancel()
				}
				hanging(ended).ServeHTTP(w, q)
			}), -1)
			_, _, line, err := r.paint(ctx, tools.PaintRequest{Prompt: "fox", Steps: 4})
			if !errors.Is(err, ctx.Err()) || told(err) != "" {
				t.Errorf("error %v", err)
			}
			if strings.Contains(line, "fault") {
				t.Errorf("the log has %s", line)
			}
			await(t, ended)
			if n := len(r.Calls()); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// hanging answers nothing, and closes ended when its client has gone.
func hanging(ended chan struct{}) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		<-q.Context().Done()
		close(ended)
	})
}

func await(t *testing.T, ended chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the call of the model goes on")
	}
}

// told is what the person reads, or "" where only the log has the cause.
func told(err error) string {
	if e, ok := errors.AsType[*tools.Error](err); ok {
		return e.Message
	}
	return ""
}

// TestPanic: a fault in the call's own goroutine does not end the process.
func TestPanic(t *testing.T) {
	r := newRegion(t, func(c *Config) { c.Client = func() *bedrockruntime.Client { panic("no client") } })
	if _, _, _, err := r.paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: 4}); err == nil || told(err) != "" || !strings.Contains(err.Error(), "no client") {
		t.Errorf("error %v", err)
	}
}

func TestFromEnv(t *testing.T) {
	t.Setenv("AWS_BEARER_TOKEN_BEDROCK", "of the process and not of env") // which the stand-in would not take
	stub := bedrocktest.New()
	server := httptest.NewUnstartedServer(stub)
	var connections atomic.Int32
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	settings := map[string]string{"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": server.URL}
	env := func(name string) string { return settings[name] }
	if p, err := FromEnv(env); err != nil || p != (tools.Preview{}) {
		t.Errorf("without IMAGE_MODEL: %T, %v", p, err)
	}
	settings["IMAGE_MODEL"] = "flux"
	if _, err := FromEnv(env); err == nil || !strings.HasPrefix(err.Error(), "IMAGE_MODEL ") {
		t.Errorf("an unknown model: %v", err)
	}
	settings["IMAGE_MODEL"] = "bedrock"
	if _, err := FromEnv(env); err == nil || !strings.HasPrefix(err.Error(), "AWS_ACCESS_KEY_ID ") {
		t.Errorf("without credentials: %v", err)
	}
	settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"] = "id", "key"
	p, err := FromEnv(env)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := p.Paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: 4}, func(int) {}); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections for 2 pictures; one that was kept may be dead", n)
	}
	if calls := stub.Calls(); len(calls) != 2 || calls[0].Region != "us-west-2" {
		t.Errorf("calls %+v; the models stand in IMAGE_REGION, not in the function's region", calls)
	}
	settings["AWS_REGION"] = "" // as on a laptop
	settings["IMAGE_REGION"] = "us-gov-west-1"
	if p, err = FromEnv(env); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Paint(t.Context(), tools.PaintRequest{Prompt: "fox", Steps: 4}, func(int) {}); err != nil || stub.Calls()[2].Region != "us-gov-west-1" {
		t.Errorf("calls %+v, %v", stub.Calls(), err)
	}
}
