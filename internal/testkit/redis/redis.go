// Package redistest starts a real Redis for tests that a simulated one cannot
// answer: run ids, expiry, timing, concurrency.
package redistest

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Start runs redis-server on a free loopback port, without persistence and in a
// temporary directory, and returns its address once it accepts connections. The
// server is killed, by its own process, when the test ends. Where redis-server
// is not installed the test is skipped and says so: the build server installs it.
func Start(t testing.TB) (addr string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on PATH, so nothing here was tried on a real Redis (install the package redis-server)")
	}
	// Another process may take the port between its choice and the start.
	for range 3 {
		if addr, ok := launch(t, path); ok {
			return addr
		}
	}
	t.Fatal("redis-server did not start in three attempts")
	return ""
}

// launch starts one server and reports whether it came up.
func launch(t testing.TB, path string) (string, bool) {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(),
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		watch(out, ready)
	}()
	stop := func() {
		_ = cmd.Process.Kill() // fails only if it has ended already
		<-drained
		_ = cmd.Wait() // "signal: killed" is the intended end
	}
	select {
	case <-ready:
		t.Cleanup(stop)
		return addr, true
	case <-drained: // ended: most likely the port was taken
	case <-time.After(10 * time.Second):
	}
	stop()
	return "", false
}

// watch closes ready at the line that says so, and reads on until the server
// ends, so that it never blocks on a full pipe.
func watch(out io.Reader, ready chan<- struct{}) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if ready != nil && strings.Contains(lines.Text(), "Ready to accept connections") {
			close(ready)
			ready = nil
		}
	}
}

// freeAddr names a loopback address that nobody listens on at the moment.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
