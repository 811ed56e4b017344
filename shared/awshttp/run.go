package awshttp

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"mcp-access-oauth/shared/audit"
)

// Run is the whole of a function's main: it builds the handler from the environment, puts the request log around it,
// and hands it to start, StartAPI or StartStream. A setting that is missing or wrong ends the process with one line
// that names the variable; Lambda shows it as the reason of the failed start.
func Run(build func(env func(string) string, log *slog.Logger) (http.Handler, error), start func(http.Handler)) {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	slog.SetDefault(log)
	handler, err := build(os.Getenv, log)
	if err != nil {
		Fail(err)
	}
	start(audit.Requests(log, time.Now, RequestID, handler))
}

// Fail ends the start with one line.
func Fail(err error) {
	fmt.Fprintln(os.Stderr, "configuration:", err)
	os.Exit(1)
}
