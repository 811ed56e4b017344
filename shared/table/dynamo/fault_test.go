package dynamo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"mcp-access-oauth/shared/table"
)

// service is a DynamoDB that answers as scripted, from the wire up: each answer serves one request, the last one all
// that follow. It runs in synctest's time, so that seconds of retrying cost none.
type service struct {
	t       *testing.T
	answers []answer
	asked   []string // the operations asked for
	bodies  []map[string]any
}

type answer func(r *http.Request, body map[string]any) (*http.Response, error)

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		s.t.Errorf("request body: %v", err)
	}
	s.asked, s.bodies = append(s.asked, operation), append(s.bodies, body)
	next := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	return next(r, body)
}

func (s *service) table() *Table {
	return New(dynamodb.New(dynamodb.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://dynamodb.example"),
		HTTPClient:   &http.Client{Transport: s},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s"}, nil
		}),
	}), "table", func() time.Time { return time.Unix(1_800_000_000, 0) })
}

func reply(status int, body string) answer {
	return func(*http.Request, map[string]any) (*http.Response, error) {
		return &http.Response{
			StatusCode: status,
			Header: http.Header{
				"Content-Type": {"application/x-amz-json-1.0"},
				"X-Amz-Crc32":  {fmt.Sprint(crc32.ChecksumIEEE([]byte(body)))},
			},
			Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	}
}

func refuse(status int, code string) answer {
	return reply(status, fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"as scripted"}`, code))
}

// drop loses the answer, as a connection does that breaks after the request was sent.
func drop(*http.Request, map[string]any) (*http.Response, error) {
	return nil, errors.New("connection reset by peer")
}

// cut breaks the connection in the middle of the answer.
func cut(*http.Request, map[string]any) (*http.Response, error) {
	body := io.MultiReader(strings.NewReader(`{"Attr`), failing{})
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body)}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// hang never answers.
func hang(r *http.Request, _ map[string]any) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// conflict refuses by the condition, showing the item in the way as DynamoDB does when asked for ALL_OLD. version and
// prev may name attempt ids of the request itself: "ours".
func conflict(version, prev string) answer {
	return func(r *http.Request, body map[string]any) (*http.Response, error) {
		attributes := itemJSON(body, version, prev)
		return reply(http.StatusBadRequest, fmt.Sprintf(
			`{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"m","Item":%s}`,
			attributes))(r, body)
	}
}

// itemJSON is the item that stands under the key of a PutItem.
func itemJSON(put map[string]any, version, prev string) string {
	own := put["Item"].(map[string]any)["version"].(map[string]any)["S"].(string)
	item := map[string]any{"pk": map[string]any{"S": "p"}, "sk": map[string]any{"S": "s"}}
	for name, value := range map[string]string{"version": version, "prev": prev} {
		if value == "ours" {
			value = own
		}
		if value != "" {
			item[name] = map[string]any{"S": value}
		}
	}
	text, _ := json.Marshal(item)
	return string(text)
}

var (
	key      = table.Key{Partition: "p", Sort: "s"}
	item     = table.Item{Key: key, Data: []byte("x"), Version: "v0"}
	stored0  = reply(http.StatusOK, `{}`)
	throttle = refuse(http.StatusBadRequest, "ProvisionedThroughputExceededException")
	broken   = refuse(http.StatusInternalServerError, "InternalServerError")
	plain    = refuse(http.StatusBadRequest, "ConditionalCheckFailedException") // as dynalite refuses
)

func TestWrites(t *testing.T) {
	nothing, another := reply(http.StatusOK, `{}`), reply(http.StatusOK, itemOf("v9", "v0"))
	for _, c := range []struct {
		name    string
		answers []answer
		create  error // what Create says, and Replace
		replace error
		calls   int
	}{
		{"stored", []answer{stored0}, nil, nil, 1},
		{"refused", []answer{conflict("v9", "v8")}, table.ErrExists, table.ErrConflict, 1},
		{"refused without the item: nothing is read, as nothing was lost", []answer{plain}, table.ErrExists, table.ErrConflict, 1},
		{"throttled, then stored", []answer{throttle, throttle, stored0}, nil, nil, 3},
		{"throttled otherwise", []answer{refuse(400, "ThrottlingException"), stored0}, nil, nil, 2},
		{"account limit", []answer{refuse(400, "RequestLimitExceeded"), stored0}, nil, nil, 2},
		{"500, then stored", []answer{broken, stored0}, nil, nil, 2},
		{"503 that is no JSON", []answer{reply(503, "<html>"), stored0}, nil, nil, 2},
		{"lost, then stored", []answer{drop, stored0}, nil, nil, 2},

		{"lost, ours stands", []answer{drop, conflict("ours", "v0")}, nil, nil, 2},
		{"answer cut, ours stands", []answer{cut, conflict("ours", "v0")}, nil, nil, 2},
		{"no answer, ours stands", []answer{hang, conflict("ours", "v0")}, nil, nil, 2},
		{"500, ours stands", []answer{broken, conflict("ours", "v0")}, nil, nil, 2},
		{"lost, then throttled, ours stands", []answer{drop, throttle, conflict("ours", "v0")}, nil, nil, 3},
		{"lost, ours overwritten", []answer{drop, conflict("v9", "ours")}, nil, nil, 2},
		{"lost, another replaced the same version", []answer{drop, conflict("v9", "v0")}, table.ErrExists, table.ErrConflict, 2},
		{"lost, the version stands: it has expired", []answer{drop, conflict("v0", "v1")}, table.ErrExists, table.ErrConflict, 2},
		{"lost, overwritten twice", []answer{drop, conflict("v9", "v8")}, table.ErrExists, table.ErrUnavailable, 2},
		{"lost, created by another since", []answer{drop, conflict("v9", "")}, table.ErrExists, table.ErrUnavailable, 2},
		// A throttled attempt was not made: then a foreign item is a plain refusal.
		{"throttled, then another's", []answer{throttle, conflict("v9", "v8")}, table.ErrExists, table.ErrConflict, 2},

		// Where the refusal shows no item, it is read.
		{"lost, nothing there", []answer{drop, plain, nothing}, table.ErrUnavailable, table.ErrUnavailable, 3},
		{"lost, another's there", []answer{drop, plain, another}, table.ErrExists, table.ErrConflict, 3},
		{"lost, reading throttled once", []answer{drop, plain, throttle, another}, table.ErrExists, table.ErrConflict, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			write := func(what string, want error, do func(context.Context, *Table) (string, error)) {
				synctest.Test(t, func(t *testing.T) {
					s := &service{t: t, answers: c.answers}
					version, err := do(t.Context(), s.table())
					if !errors.Is(err, want) {
						t.Errorf("%s: error %v, want %v", what, err, want)
					}
					if len(s.asked) != c.calls {
						t.Errorf("%s: calls %q, want %d", what, s.asked, c.calls)
					}
					if err == nil && version != written(s.bodies[0]) {
						t.Errorf("%s: version %q, want the attempt id", what, version)
					}
					for i, operation := range s.asked {
						if operation == "PutItem" && written(s.bodies[i]) != written(s.bodies[0]) {
							t.Errorf("%s: attempt %d bears another id", what, i+1)
						}
					}
				})
			}
			write("Create", c.create, func(ctx context.Context, tbl *Table) (string, error) { return tbl.Create(ctx, item) })
			write("Replace", c.replace, func(ctx context.Context, tbl *Table) (string, error) { return tbl.Replace(ctx, item) })
		})
	}
}

func itemOf(version, prev string) string {
	return fmt.Sprintf(`{"Item":{"pk":{"S":"p"},"sk":{"S":"s"},"version":{"S":%q},"prev":{"S":%q}}}`, version, prev)
}

// written is the attempt id of a PutItem.
func written(body map[string]any) string {
	return body["Item"].(map[string]any)["version"].(map[string]any)["S"].(string)
}

func TestDeletes(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []answer
		want    error
		calls   int
	}{
		{"deleted", []answer{stored0}, nil, 1},
		{"refused", []answer{plain}, table.ErrConflict, 1},
		{"lost, then refused: nothing is there", []answer{drop, plain, reply(200, `{}`)}, nil, 3},
		{"lost, then refused: another item is there", []answer{drop, plain, reply(200, itemOf("v9", "v8"))}, table.ErrConflict, 3},
		{"throttled, then refused", []answer{throttle, plain}, table.ErrConflict, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{t: t, answers: c.answers}
				if err := s.table().Delete(t.Context(), key, "v0"); !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if len(s.asked) != c.calls {
					t.Errorf("calls %q, want %d", s.asked, c.calls)
				}
			})
		})
	}
}

// A fault that does not pass in time ends in ErrUnavailable, after several attempts, within the bound.
func TestBoundedRetries(t *testing.T) {
	operations := map[string]func(context.Context, *Table) error{
		"Get": func(ctx context.Context, tbl *Table) error { _, err := tbl.Get(ctx, key); return err },
		"Get, two": func(ctx context.Context, tbl *Table) error {
			_, err := tbl.Get(ctx, key, table.Key{Partition: "p", Sort: "t"})
			return err
		},
		"Create":  func(ctx context.Context, tbl *Table) error { _, err := tbl.Create(ctx, item); return err },
		"Replace": func(ctx context.Context, tbl *Table) error { _, err := tbl.Replace(ctx, item); return err },
		"Delete":  func(ctx context.Context, tbl *Table) error { return tbl.Delete(ctx, key, "v0") },
		"List": func(ctx context.Context, tbl *Table) error {
			_, err := tbl.List(ctx, "p", table.ListOptions{})
			return err
		},
		"ListIndex": func(ctx context.Context, tbl *Table) error {
			_, err := tbl.ListIndex(ctx, table.ByUser, "u", table.ListOptions{})
			return err
		},
	}
	faults := map[string]struct {
		answer   answer
		attempts int // at least
	}{
		"throttled": {throttle, 7},
		"500":       {broken, 7},
		"broken":    {drop, 7},
		"cut":       {cut, 7},
		"no answer": {hang, 2},
	}
	for fault, f := range faults {
		for operation, do := range operations {
			t.Run(operation+" "+fault, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &service{t: t, answers: []answer{f.answer}}
					start := time.Now()
					err := do(t.Context(), s.table())
					if !errors.Is(err, table.ErrUnavailable) {
						t.Errorf("error %v, want ErrUnavailable", err)
					}
					if took := time.Since(start); took < bound/2 || took > bound {
						t.Errorf("gave up after %v, want at most %v and not much less", took, bound)
					}
					if len(s.asked) < f.attempts || len(s.asked) > 14 {
						t.Errorf("%d attempts, want %d to 14", len(s.asked), f.attempts)
					}
				})
			})
		}
	}
}

// The request's own context ends the retrying sooner, by deadline or by the client's leaving.
func TestContextEndsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{t: t, answers: []answer{throttle}}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := s.table().Get(ctx, key)
		if took := time.Since(start); !errors.Is(err, table.ErrUnavailable) || took > 300*time.Millisecond {
			t.Errorf("deadline: %v after %v", err, took)
		}
	})
	for name, fault := range map[string]answer{"between attempts": throttle, "during one": hang} {
		synctest.Test(t, func(t *testing.T) {
			s := &service{t: t, answers: []answer{fault}}
			start := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(300*time.Millisecond, cancel)
			_, err := s.table().Get(ctx, key)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, table.ErrUnavailable) {
				t.Errorf("cancelled %s: %v", name, err)
			}
			if took := time.Since(start); took > 300*time.Millisecond {
				t.Errorf("cancelled %s: returned after %v", name, took)
			}
		})
	}
}

// What no retry can cure is told at once, and is not called a passing fault.
func TestLastingFaults(t *testing.T) {
	for _, code := range []string{
		"ResourceNotFoundException", "AccessDeniedException", "ValidationException", "UnrecognizedClientException",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &service{t: t, answers: []answer{refuse(http.StatusBadRequest, code)}}
			_, err := s.table().Get(t.Context(), key)
			if err == nil || errors.Is(err, table.ErrUnavailable) || len(s.asked) != 1 {
				t.Errorf("%s: %v after %d attempts, want it at once", code, err, len(s.asked))
			}
		})
	}
}

// A batch that comes back in parts is asked for again; it fails only when nothing comes at all.
func TestUnprocessedKeys(t *testing.T) {
	part := func(read, left []string) answer {
		key := func(sort string) string { return fmt.Sprintf(`{"pk":{"S":"p"},"sk":{"S":%q}}`, sort) }
		var items, keys []string
		for _, sort := range read {
			items = append(items, strings.TrimSuffix(key(sort), "}")+`,"version":{"S":"v"}}`)
		}
		for _, sort := range left {
			keys = append(keys, key(sort))
		}
		unprocessed := ""
		if len(keys) > 0 {
			unprocessed = fmt.Sprintf(`"table":{"Keys":[%s]}`, strings.Join(keys, ","))
		}
		return reply(http.StatusOK, fmt.Sprintf(
			`{"Responses":{"table":[%s]},"UnprocessedKeys":{%s}}`, strings.Join(items, ","), unprocessed))
	}
	keys := []table.Key{{Partition: "p", Sort: "a"}, {Partition: "p", Sort: "b"}, {Partition: "p", Sort: "c"}}
	synctest.Test(t, func(t *testing.T) {
		s := &service{t: t, answers: []answer{
			part(nil, []string{"a", "b", "c"}), part([]string{"b"}, []string{"a", "c"}), throttle, part([]string{"c", "a"}, nil),
		}}
		items, err := s.table().Get(t.Context(), keys...)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		for i, item := range items {
			if item == nil || item.Key != keys[i] {
				t.Errorf("item %d: %+v", i, item)
			}
		}
		left := s.bodies[3]["RequestItems"].(map[string]any)["table"].(map[string]any)
		if len(left["Keys"].([]any)) != 2 || left["ConsistentRead"] != true {
			t.Errorf("the last request asks for %v, want the two keys left, consistently", left)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := &service{t: t, answers: []answer{part(nil, []string{"a", "b", "c"})}}
		if _, err := s.table().Get(t.Context(), keys...); !errors.Is(err, table.ErrUnavailable) {
			t.Errorf("Get of which nothing comes: %v, want ErrUnavailable", err)
		}
	})
}

// Each operation is the call that it is meant to be: its cost, its consistency, its condition.
func TestRequests(t *testing.T) {
	ask := func(do func(*Table) error) (string, map[string]any) {
		t.Helper()
		s := &service{t: t, answers: []answer{reply(http.StatusOK, `{}`)}}
		if err := do(s.table()); err != nil {
			t.Fatal(err)
		}
		if len(s.asked) != 1 {
			t.Fatalf("calls %q, want one", s.asked)
		}
		return s.asked[0], s.bodies[0]
	}
	operation, body := ask(func(tbl *Table) error { _, err := tbl.Get(t.Context(), key); return err })
	if operation != "GetItem" || body["ConsistentRead"] != true {
		t.Errorf("Get: %s %v", operation, body)
	}
	operation, body = ask(func(tbl *Table) error { _, err := tbl.Get(t.Context(), key, key); return err })
	keys := body["RequestItems"].(map[string]any)["table"].(map[string]any)["Keys"].([]any)
	if operation != "BatchGetItem" || len(keys) != 1 {
		t.Errorf("Get of a key twice: %s %v", operation, body)
	}
	operation, body = ask(func(tbl *Table) error {
		_, err := tbl.List(t.Context(), "p", table.ListOptions{Limit: 7, Descending: true})
		return err
	})
	if operation != "Query" || body["ConsistentRead"] != true || body["Limit"] != 7.0 || body["ScanIndexForward"] != false {
		t.Errorf("List: %s %v", operation, body)
	}
	operation, body = ask(func(tbl *Table) error {
		_, err := tbl.ListIndex(t.Context(), table.ByClient, "c", table.ListOptions{})
		return err
	})
	if operation != "Query" || body["IndexName"] != "client" || body["Limit"] != 100.0 {
		t.Errorf("ListIndex: %s %v", operation, body)
	}
	for name, do := range map[string]func(*Table) error{
		"Create":  func(tbl *Table) error { _, err := tbl.Create(t.Context(), item); return err },
		"Replace": func(tbl *Table) error { _, err := tbl.Replace(t.Context(), item); return err },
		"Delete":  func(tbl *Table) error { return tbl.Delete(t.Context(), key, "v0") },
	} {
		if _, body := ask(do); body["ConditionExpression"] == nil {
			t.Errorf("%s has no condition", name)
		}
	}
	for name, do := range map[string]func(*Table) error{
		"Get of nothing": func(tbl *Table) error { _, err := tbl.Get(t.Context()); return err },
		"Get of an impossible key": func(tbl *Table) error {
			_, err := tbl.Get(t.Context(), table.Key{Partition: "p"})
			return err
		},
	} {
		s := &service{t: t, answers: []answer{reply(http.StatusOK, `{}`)}}
		if err := do(s.table()); err != nil || len(s.asked) != 0 {
			t.Errorf("%s: %v, calls %q; want none", name, err, s.asked)
		}
	}
}
