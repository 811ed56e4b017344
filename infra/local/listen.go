package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// site is one HTTP server of this process, on 127.0.0.1 and on ::1 where this machine has it.
type site struct {
	server    *http.Server
	listeners []net.Listener
}

// listen takes the port at once, so that a port in use ends the start before anything is printed.
func listen(port int, handler http.Handler, logger *slog.Logger) (*site, error) {
	s := &site{server: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}}
	for _, host := range []string{"127.0.0.1", "::1"} {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		switch {
		case err == nil:
			s.listeners = append(s.listeners, listener)
		case host == "::1" && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)):
			// This machine has no IPv6; browsers then reach localhost at 127.0.0.1.
		case errors.Is(err, syscall.EADDRINUSE):
			s.close()
			return nil, fmt.Errorf("port %d on %s is taken by another program; stop it, or choose another with PORT=", port, host)
		default:
			s.close()
			return nil, fmt.Errorf("listening on port %d: %w", port, err)
		}
	}
	return s, nil
}

// serve answers requests until shutdown, and reports a server that failed on failed.
func (s *site) serve(failed chan<- error) {
	for _, listener := range s.listeners {
		go func() {
			if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
}

// shutdown lets requests in flight end, for a moment; streams are then cut.
func (s *site) shutdown() {
	defer s.close() // the server knows only the listeners that it has served
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close() // nothing is left to do for what did not end
	}
}

func (s *site) close() {
	for _, listener := range s.listeners {
		_ = listener.Close()
	}
}
