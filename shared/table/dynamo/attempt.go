package dynamo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"

	"mcp-access-oauth/shared/table"
)

const (
	// bound is how long one call of Table may last, retries included: a client that waits for a token would rather
	// hear 503 than wait.
	bound = 2 * time.Second
	// patience is how long one attempt may last. DynamoDB answers in milliseconds; what has not answered by then is
	// most likely a connection that died while the function was frozen.
	patience = 900 * time.Millisecond
	// The waits between attempts double from firstWait to lastWait, each with half of it at random.
	firstWait = 25 * time.Millisecond
	lastWait  = 400 * time.Millisecond
)

// limits are the times in force.
type limits struct{ call, attempt time.Duration }

// errUnprocessed is a batch read of which nothing was read.
var errUnprocessed = errors.New("dynamo: throttled: no key of the batch was processed")

// once takes the SDK's own retrying away. We must know how many attempts there were and how each ended, to tell a
// refusal from our own earlier success; and the SDK would try for five seconds.
func once(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }

// attempt makes a call until it is answered, for as long as ctx lives, which its callers bound. A fault that may pass
// leads to another attempt, and in the end to table.ErrUnavailable; any other error is returned as it is. lost says
// that an attempt before the last one may have done its work unseen.
func (t *Table) attempt(ctx context.Context, doing string, call func(context.Context) error) (lost bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("%s: %w: %w", doing, table.ErrUnavailable, err)
	}
	wait := firstWait
	for n := 1; ; n++ {
		one, cancel := context.WithTimeout(ctx, t.limits.attempt)
		err = call(one)
		cancel()
		if err == nil {
			return lost, nil
		}
		passing, unseen := judge(err)
		if !passing {
			return lost, fmt.Errorf("%s: %w", doing, err)
		}
		lost = lost || unseen
		if ended := sleep(ctx, wait/2+rand.N(wait/2)); ended != nil {
			return lost, fmt.Errorf("%s, %d attempts: %w: %w: %w", doing, n, table.ErrUnavailable, ended, err)
		}
		wait = min(2*wait, lastWait)
	}
}

// judge says whether another attempt may fare better than the one that ended in err, and whether that one may have
// done its work all the same. What DynamoDB refuses with a 4xx was not done; after a 5xx, a broken connection, an
// unreadable answer or our own loss of patience nobody knows.
func judge(err error) (passing, unseen bool) {
	if errors.Is(err, errUnprocessed) {
		return true, false
	}
	if errors.Is(err, errItem) {
		return false, false
	}
	answer, ok := errors.AsType[smithy.APIError](err)
	switch {
	case !ok:
		return true, true
	case throttled.IsErrorThrottle(err).Bool():
		return true, false
	case answer.ErrorFault() == smithy.FaultServer || serverFault.IsErrorRetryable(err).Bool():
		return true, true
	}
	// A signature refused because our clock is wrong: the SDK has learnt the right time from the answer.
	return skewed.IsErrorRetryable(err).Bool(), false
}

// The SDK's own lists of what is which, which follow the service.
var (
	throttled   = retry.IsErrorThrottles(retry.DefaultThrottles)
	serverFault = retry.RetryableHTTPStatusCode{Codes: retry.DefaultRetryableHTTPStatusCodes}
	skewed      = retry.RetryableError{}
)

// sleep waits, unless ctx ends; if it would end before the wait does, there is no use in waiting for it.
func sleep(ctx context.Context, wait time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
