// Package bedrock paints with the Stability models of Amazon Bedrock. It owns which model a number of steps means, the
// call of InvokeModel and its bounds, the progress that is shown meanwhile, and which of its failures a person is told
// of. The permission it needs is bedrock:InvokeModel on the models of ModelIDs.
//
// What a person cannot help, such as a model that the account may not use, is told as just that, and its cause goes to
// the request's log line alone (docs/operations.md).
package bedrock

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"mcp-access-oauth/shared/tools"
)

// model is one model, and the steps that choose it.
type model struct {
	id, name  string
	mostSteps int
	// usual is how long it takes as a rule. Nothing depends on it but the pace of the progress.
	usual time.Duration
}

// models take no number of steps, so the steps choose among them (docs/decisions/0013-image-models.md). Each takes the
// same request and gives the same answer.
var models = [...]model{
	{"stability.stable-image-core-v1:1", "Stable Image Core", 5, 5 * time.Second},
	{"stability.sd3-5-large-v1:0", "Stable Diffusion 3.5 Large", 7, 8 * time.Second},
	{"stability.stable-image-ultra-v1:1", "Stable Image Ultra", tools.MaxSteps, 12 * time.Second},
}

// choice says in words what models say.
const choice = "4 or 5 for Stable Image Core, 6 or 7 for Stable Diffusion 3.5 Large, 8 for Stable Image Ultra"

// ModelIDs are the models that may be called.
func ModelIDs() []string {
	ids := make([]string, 0, len(models))
	for _, m := range models {
		ids = append(ids, m.id)
	}
	return ids
}

func choose(steps int) model {
	for _, m := range models {
		if steps <= m.mostSteps {
			return m
		}
	}
	return models[len(models)-1]
}

// Config is what a Painter is made of.
type Config struct {
	// Client makes the client on first use: a function that paints nothing does without.
	Client func() *bedrockruntime.Client
	// Tick starts a ticker, as time.NewTicker does, and returns its channel and what stops it. nil means the real one.
	Tick func(time.Duration) (ticks <-chan time.Time, stop func())
	// Patience is how long one picture may take, retries included; 0 means 55 s, since clients wait for a minute.
	Patience time.Duration
	// Wait is the longest wait before the call is made again, which it is twice at most; 0 means 2 s.
	Wait time.Duration
}

// Painter is a tools.Painter. It is safe for concurrent use. Make it with New.
type Painter struct {
	client         func() *bedrockruntime.Client
	tick           func(time.Duration) (<-chan time.Time, func())
	patience, wait time.Duration
}

var _ tools.Painter = (*Painter)(nil)

// New returns a Painter. It makes no call.
func New(c Config) *Painter {
	p := &Painter{
		client: sync.OnceValue(c.Client), tick: c.Tick,
		patience: cmp.Or(c.Patience, 55*time.Second), wait: cmp.Or(c.Wait, 2*time.Second),
	}
	if p.tick == nil {
		p.tick = func(d time.Duration) (<-chan time.Time, func()) {
			ticker := time.NewTicker(d)
			return ticker.C, ticker.Stop
		}
	}
	return p
}

// Steps says what a step is here.
func (*Painter) Steps() string {
	return "Amazon Bedrock paints it. Its models take no number of steps of their own, so the steps choose the model: " +
		choice + ". More steps mean a better picture, a longer wait and a higher price."
}

// Paint asks the model that the steps choose. InvokeModel tells nothing until the picture is there, so a step is
// reported whenever its share of the usual time has passed; the last one waits for the picture, however long it takes.
func (p *Painter) Paint(ctx context.Context, r tools.PaintRequest, step func(int)) (tools.Picture, error) {
	m := choose(r.Steps)
	type outcome struct {
		picture painted
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if fault := recover(); fault != nil { // nobody else catches it here, and it would end the process
				o.err = fmt.Errorf("panic: %v", fault)
			}
			done <- o
		}()
		o.picture, o.err = p.invoke(ctx, m, r.Prompt)
	}()
	ticks, stop := p.tick(m.usual / time.Duration(r.Steps))
	defer stop()
	reported := 0
	report := func(upTo int) {
		for reported < upTo {
			reported++
			step(reported)
		}
	}
	for {
		select {
		case <-ticks:
			report(min(reported+1, r.Steps-1))
		case o := <-done:
			if o.err != nil {
				return tools.Picture{}, o.err
			}
			report(r.Steps)
			return tools.Picture{
				Data: o.picture.data, MIMEType: o.picture.mimeType, Model: m.name + " on Amazon Bedrock",
				Note: "The steps chose the model, which takes none of its own: " + choice + ".",
			}, nil
		}
	}
}
