package dynamo_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mcp-access-oauth/shared/table"
	"mcp-access-oauth/shared/table/dynamo"
	"mcp-access-oauth/shared/table/dynamo/dynamotest"
	"mcp-access-oauth/shared/table/tabletest"
)

// wire is a connection to DynamoDB that loses answers when told.
type wire struct {
	mu   sync.Mutex
	lose func() // set: the answer to the next write is lost, after this ran
}

func (w *wire) loseAnswer(then func()) {
	if then == nil {
		then = func() {}
	}
	w.mu.Lock()
	w.lose = then
	w.mu.Unlock()
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var lose func()
	if target := r.Header.Get("X-Amz-Target"); strings.HasSuffix(target, "PutItem") || strings.HasSuffix(target, "DeleteItem") {
		w.mu.Lock()
		lose, w.lose = w.lose, nil
		w.mu.Unlock()
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || lose == nil {
		return response, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	lose()
	return nil, errors.New("connection reset by peer")
}

func TestTable(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) tabletest.Backend {
		clock, wire := tabletest.NewClock(), new(wire)
		return tabletest.Backend{
			Table: dynamotest.Open(t, clock.Now, func(o *dynamodb.Options) {
				o.HTTPClient = &http.Client{Transport: wire}
			}),
			Clock:      clock,
			LoseAnswer: wire.loseAnswer,
			Increments: 2, // an emulator on this machine needs about eight tries for each
		}
	})
}

// flaky loses the answer to every third write, whoever made it.
type flaky struct {
	mu     sync.Mutex
	writes int
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "PutItem") {
		return response, err
	}
	f.mu.Lock()
	f.writes++
	lost := f.writes%3 == 0
	f.mu.Unlock()
	if lost {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return response, nil
}

// Many writers count up by compare-and-swap while every third answer is lost. Whoever was told yes is counted once,
// whoever was told no not at all, and only those who were told that nobody knows may be either.
func TestCountersOverLostAnswers(t *testing.T) {
	tbl := dynamotest.Open(t, time.Now, func(o *dynamodb.Options) {
		o.HTTPClient = &http.Client{Transport: new(flaky)}
	})
	key := table.Key{Partition: "p", Sort: "s"}
	if _, err := tbl.Create(t.Context(), table.Item{Key: key}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var yes, unknown int
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 8 {
				items, err := tbl.Get(t.Context(), key)
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				next := *items[0]
				next.Data = append(next.Data, 'x')
				_, err = tbl.Replace(t.Context(), next)
				mu.Lock()
				switch {
				case err == nil:
					yes++
				case errors.Is(err, table.ErrUnavailable):
					unknown++
				case !errors.Is(err, table.ErrConflict):
					t.Errorf("Replace: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	items, err := tbl.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(items[0].Data); n < yes || n > yes+unknown {
		t.Errorf("%d writes stand in the item, of %d told yes and %d told that nobody knows", n, yes, unknown)
	}
	t.Logf("%d yes, %d unknown", yes, unknown)
}

func BenchmarkTable(b *testing.B) {
	tabletest.Benchmark(b, func(b *testing.B) table.Table { return dynamotest.Open(b, time.Now) })
}

func TestCreateTableTwice(t *testing.T) {
	name := dynamotest.Create(t)
	if err := dynamo.CreateTable(t.Context(), dynamotest.Client(t), name); err != nil {
		t.Errorf("CreateTable of a table that is there: %v", err)
	}
}

// Items that something else has put into the table are a fault, not a panic and not an absence.
func TestForeignItem(t *testing.T) {
	client, name := dynamotest.Client(t), dynamotest.Create(t)
	for _, item := range []map[string]types.AttributeValue{
		{},
		{"version": &types.AttributeValueMemberN{Value: "1"}},
		{"version": &types.AttributeValueMemberS{Value: "v"}, "expires": &types.AttributeValueMemberN{Value: "1e40"}},
	} {
		item["pk"] = &types.AttributeValueMemberS{Value: "p"}
		item["sk"] = &types.AttributeValueMemberS{Value: "s"}
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &name, Item: item}); err != nil {
			t.Fatal(err)
		}
		tbl := dynamo.New(client, name, time.Now)
		_, getting := tbl.Get(t.Context(), table.Key{Partition: "p", Sort: "s"})
		_, listing := tbl.List(t.Context(), "p", table.ListOptions{})
		for _, err := range []error{getting, listing} {
			if err == nil || errors.Is(err, table.ErrUnavailable) {
				t.Errorf("item %v: error %v, want one that does not pass", item, err)
			}
		}
	}
}

// A table that is not there is a fault of the deployment and is told at once, not retried.
func TestNoTable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := dynamo.New(dynamotest.Client(t), "absent", time.Now).Get(ctx, table.Key{Partition: "p", Sort: "s"})
	if _, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok || errors.Is(err, table.ErrUnavailable) {
		t.Errorf("Get: %v, want ResourceNotFoundException", err)
	}
}
