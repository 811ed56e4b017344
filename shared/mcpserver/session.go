package mcpserver

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// inner is what mcp-go's own session of a request offers beyond the least; ours must offer it too.
type inner interface {
	server.SessionWithLogging
	server.SessionWithTools
	server.SessionWithResources
	server.SessionWithResourceTemplates
	server.SessionWithClientInfo
	server.SessionWithSampling
	server.SessionWithElicitation
	server.SessionWithRoots
	server.SessionWithStreamableHTTPConfig
	server.SessionWithSubscriptionFilter
}

// session stands in for mcp-go's session of one request, for two reasons. mcp-go can lose the notification that a tool
// sends last: the goroutine that forwards it may hold it while the answer is written. And without session ids all of
// its requests share one space of request ids, so that one person's notifications/cancelled would end another's call.
// So ours is named by the grant, and settles before the answer is written.
type session struct {
	inner
	x *exchange

	mu       sync.Mutex
	queue    chan mcp.JSONRPCNotification // nil until a notification is sent
	barriers chan chan struct{}
	stopped  chan struct{}
}

// SessionID separates the request ids, and with them cancellation, by grant.
func (s *session) SessionID() string { return s.x.access.GrantID }

// NotificationChannel starts the forwarding of what mcp-go's own API sends. Tools of this product use Call.Progress,
// which needs none.
func (s *session) NotificationChannel() chan<- mcp.JSONRPCNotification {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		s.queue = make(chan mcp.JSONRPCNotification, 100)
		s.barriers = make(chan chan struct{})
		s.stopped = make(chan struct{})
		go s.forward(s.queue, s.barriers, s.stopped)
	}
	return s.queue
}

func (s *session) forward(queue <-chan mcp.JSONRPCNotification, barriers <-chan chan struct{}, stopped <-chan struct{}) {
	for {
		select {
		case notification := <-queue:
			s.send(notification)
		case reached := <-barriers:
			for drained := false; !drained; {
				select {
				case notification := <-queue:
					s.send(notification)
				default:
					drained = true
				}
			}
			close(reached)
		case <-stopped:
			return
		}
	}
}

func (s *session) send(notification mcp.JSONRPCNotification) {
	message, err := json.Marshal(notification)
	if err == nil {
		_ = s.x.notify(message) // fails when the client has gone; the tool learns of that from its context
	}
}

// settle returns when everything sent before it has been written. Where nothing was ever sent it costs a lock.
func (s *session) settle() {
	s.mu.Lock()
	barriers, stopped := s.barriers, s.stopped
	s.mu.Unlock()
	if barriers == nil {
		return
	}
	reached := make(chan struct{})
	select {
	case barriers <- reached:
		<-reached
	case <-stopped:
	}
}

func (s *session) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped != nil {
		select {
		case <-s.stopped:
		default:
			close(s.stopped)
		}
	}
}

// upgrade tells mcp-go that the answer is an event stream.
func (s *session) upgrade() {
	if s.inner != nil {
		s.inner.UpgradeToSSEWhenReceiveNotification()
	}
}

type exchangeKey struct{}

// attachSession puts our session in the place of mcp-go's before it reads the message.
func (s *Server) attachSession(ctx context.Context, _ *http.Request) context.Context {
	x := exchangeOf(ctx)
	own, ok := server.ClientSessionFromContext(ctx).(inner)
	if x == nil || !ok { // not ok: another version of mcp-go; the tests hold this one to it
		return ctx
	}
	x.session.inner, x.session.x = own, x
	return s.mcp.WithContext(ctx, &x.session)
}

// exchangeOf finds the exchange of a request that mcp-go is handling.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}
