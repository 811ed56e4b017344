package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// connections is how many clients call at once.
const connections = 32

// target is a server under load: where it listens, which request it gets over and over, and its process.
type target struct {
	address string
	request []byte
	pid     int
}

// round is one measured stretch.
type round struct {
	perSecond float64
	cpu       time.Duration // of the server, per request
}

// load sends the request over every connection for as long as it is told. A wrong answer ends the benchmark.
func (s target) load(b *testing.B, duration time.Duration) round {
	b.Helper()
	var done atomic.Int64
	var wrong atomic.Pointer[string]
	var clients sync.WaitGroup
	before, start := cpuTime(b, s.pid), time.Now()
	for range connections {
		clients.Go(func() {
			count, err := s.repeat(start.Add(duration))
			if err != nil {
				text := err.Error()
				wrong.Store(&text)
			}
			done.Add(count)
		})
	}
	clients.Wait()
	took := time.Since(start)
	if text := wrong.Load(); text != nil {
		b.Fatal(*text)
	}
	return round{float64(done.Load()) / took.Seconds(), (cpuTime(b, s.pid) - before) / time.Duration(done.Load())}
}

// repeat sends the request on one connection until a point in time.
func (s target) repeat(until time.Time) (count int64, err error) {
	c, err := dial(s.address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for time.Now().Before(until) {
		status, body, err := c.exchange(s.request)
		if err != nil {
			return count, err
		}
		if status != http.StatusOK || !bytes.Contains(body, []byte(`"sum":42`)) {
			return count, fmt.Errorf("%d: %s", status, body)
		}
		count++
	}
	return count, nil
}

// connection speaks plain HTTP/1.1: a client library would cost more than the server.
type connection struct {
	net.Conn
	answers *bufio.Reader
}

func dial(address string) (connection, error) {
	c, err := net.Dial("tcp", address)
	return connection{c, bufio.NewReader(c)}, err
}

func (c connection) exchange(request []byte) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return 0, nil, err
	}
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// cpuTime is what the process has used of both cores so far, as proc(5) counts it: in hundredths of a second.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("CPU time is read from /proc, which this system lacks")
	}
	// The second field, the program's name in parentheses, may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// residentMB is the memory that the process holds.
func residentMB(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("memory is read from /proc, which this system lacks")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kB / 1024
		}
	}
	return 0
}

func median[T int64 | float64 | time.Duration](values []T) T { return percentile(values, 50) }

// percentile is the value that so many of a hundred are below.
func percentile[T int64 | float64 | time.Duration](values []T, percent int) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)*percent/100]
}
