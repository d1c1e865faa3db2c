package rig

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATS says how to start one server. Its store outlives it.
type NATS struct {
	Name string // of the server; empty: it has none
	Dir  string
	Addr string
	More []string // lines of its configuration
	Room string   // for files, as in 64MB; empty: as much as there is
}

// StartNATS starts a server that fsyncs every write.
func (r *Rig) StartNATS(t testing.TB, n NATS) *Process {
	t.Helper()
	_, port, _ := net.SplitHostPort(n.Addr)
	lines := []string{"host: 127.0.0.1", "port: " + port, "max_payload: 8MB"}
	store := fmt.Sprintf("store_dir: %q, sync_interval: always", filepath.Join(n.Dir, "nats-"+port))
	if n.Room != "" {
		store += ", max_file_store: " + n.Room
	}
	lines = append(lines, "jetstream { "+store+" }")
	if n.Name != "" {
		lines = append(lines, "server_name: "+n.Name)
	}
	conf := Write(t, filepath.Join(n.Dir, "nats-"+port+".conf"), strings.Join(append(lines, n.More...), "\n")+"\n")
	p := Start(t, Command{Name: "nats-server", Path: r.Program("nats-server"), Dir: n.Dir, Args: []string{"-c", conf}})
	Answers(t, p, n.Addr)
	return p
}

// RedisPath says where redis-server is; without one the test is skipped.
func RedisPath(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("SKIPPED: no redis-server on PATH, so this was not tried at all (install the package redis-server)")
	}
	return path
}

// Answers waits until a process takes connections.
func Answers(t testing.TB, p *Process, addr string) {
	t.Helper()
	Eventually(t, 10*time.Second, p.Name+" takes connections", func() (bool, string) {
		if !p.Alive() {
			t.Fatalf("%s has ended\n%s", p.Name, Tail(p.Log, 20))
		}
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false, err.Error()
		}
		return conn.Close() == nil, ""
	})
}

// Flush makes a Redis forget everything.
func Flush(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("FLUSHALL\r\n")); err != nil {
		return err
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "+OK\r\n" {
		return fmt.Errorf("FLUSHALL: %q %w", line, err)
	}
	return nil
}

// Publisher is a NATS client that is none of ours.
func (c *Cluster) Publisher() jetstream.JetStream {
	t := c.T
	t.Helper()
	nc, err := nats.Connect("nats://"+strings.ReplaceAll(c.NATS, ",", ",nats://"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Timeout is a context of the test that ends by itself.
func Timeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
