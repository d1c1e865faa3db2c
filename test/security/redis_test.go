package security

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

	"github.com/redis/go-redis/v9"

	"github.com/tuma-sms/tuma/test/rig"
)

const redisPassword = "password-of-redis"

// startRedis runs a real server with the users that are shipped, and one more that
// reads what was refused.
func (w *world) startRedis() (addr string) {
	w.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		w.t.Skip("SKIPPED: no redis-server on PATH, so the users of deploy/redis were not tried (install the package redis-server)")
	}
	users := strings.Replace(w.read("../../deploy/redis/users.acl"), "#"+strings.Repeat("0", 64), "#"+sha(redisPassword), 1)
	file := filepath.Join(w.t.TempDir(), "users.acl")
	w.write(file, users+"user watcher on >watcher ~* +@all\n")
	addr = rig.FreeAddr(w.t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--dir", w.t.TempDir(), "--save", "", "--appendonly", "no", "--aclfile", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ready, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "Ready to accept connections") {
				close(ready)
			}
		}
	}()
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails only if it has ended already
		<-drained
		_ = cmd.Wait() // "killed" is the intended end
	})
	select {
	case <-ready:
	case <-drained:
		w.t.Fatal("redis-server does not start: does it know users.acl?")
	case <-time.After(10 * time.Second):
		w.t.Fatal("redis-server is not ready after 10 s")
	}
	return addr
}

// The user that is shipped for Redis is enough for all that Tuma does with it, and
// for nothing else.
func TestRedisPermissions(t *testing.T) {
	w := newWorld(t)
	addr := w.startRedis()
	w.redisURL = fmt.Sprintf("redis://tuma:%s@%s/0", redisPassword, addr)
	w.up()
	ids := w.submit(`{"to":"+254712345678","from":"ACME","text":"x","idempotency_key":"k"}`)
	if again := w.submit(`{"to":"+254712345678","from":"ACME","text":"x","idempotency_key":"k"}`); again[0] != ids[0] {
		t.Error("the key did not hold")
	}
	for _, id := range ids {
		w.reaches(id, "delivered")
	}
	w.eventually("dispatchers share what they know", func() bool {
		_, body := w.call("GET", "/v1/providers", acmeKey, "")
		return strings.Contains(string(body), `"breaker":"closed"`)
	})
	watcher := redis.NewClient(&redis.Options{Addr: addr, Username: "watcher", Password: "watcher"})
	defer watcher.Close()
	refused, err := watcher.Do(t.Context(), "ACL", "LOG").Slice()
	if err != nil || len(refused) != 0 {
		t.Errorf("refused: %v %v", refused, err)
	}

	tuma := redis.NewClient(&redis.Options{Addr: addr, Username: "tuma", Password: redisPassword})
	defer tuma.Close()
	for _, command := range []string{
		"FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "GET other", "SET other x", "DEL other", "CONFIG SET dir /tmp", "SHUTDOWN", "SAVE", "REPLICAOF no one",
		"ACL LIST", "ACL SETUSER tuma +@all", "MONITOR", "CLIENT LIST", "SUBSCRIBE x", "PUBLISH x y", "MIGRATE 127.0.0.1 1 tuma:x 0 1", "RENAME tuma:x other", "FUNCTION LIST", "MODULE LIST",
	} {
		args := []any{}
		for _, a := range strings.Fields(command) {
			args = append(args, a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := tuma.Do(ctx, args...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
			t.Errorf("%s: %v", command, err)
		}
		cancel()
	}
	if err := tuma.Eval(t.Context(), "return redis.call('FLUSHALL')", nil).Err(); err == nil {
		t.Error("a script may do what its caller may not")
	}
	anyone := redis.NewClient(&redis.Options{Addr: addr})
	defer anyone.Close()
	if err := anyone.Ping(t.Context()).Err(); err == nil {
		t.Error("it answers who has no password")
	}
}
