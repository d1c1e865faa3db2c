package badinput

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/internal/app"
	"github.com/tuma-sms/tuma/internal/cli"
	"github.com/tuma-sms/tuma/internal/config"
	"github.com/tuma-sms/tuma/test/rig"
)

// asTuma has this test program be tuma, so that nothing needs to be built for tests
// of a process: its signals, its limits and its closed output.
const asTuma = "TUMA_TEST_AS_TUMA"

func TestMain(m *testing.M) {
	if os.Getenv(asTuma) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := cli.Signals(context.Background())
	code := cli.Main(ctx, os.Args[1:], deps(os.Stdin, os.Stdout, os.Stderr))
	stop()
	os.Exit(code)
}

func deps(in io.Reader, out, errOut io.Writer) cli.Deps {
	return cli.Deps{
		Version: "test", Types: app.TypeDefaults(), Env: os.LookupEnv, Stdin: in, Stdout: out, Stderr: errOut,
		Default: func() (*config.Config, error) { return app.Default(os.LookupEnv) }, Up: app.RunUp, Check: app.Check,
	}
}

// tuma runs a command in this process.
func tuma(t *testing.T, in io.Reader, out, errOut *bytes.Buffer, args ...string) int {
	t.Helper()
	if out == nil {
		out = new(bytes.Buffer)
	}
	return cli.Main(t.Context(), args, deps(in, out, errOut))
}

// command is a command line that a running installation refuses.
type command struct {
	row  int // of the list
	name string
	args []string
	in   string // standard input
	code int
	says string // on standard error, in one line
}

func commands() []command {
	list := []command{
		{98, "number of letters", []string{"dead", "show", "x"}, "", 1, "not_found"},
		{98, "letter of another world", []string{"dead", "show", "18446744073709551616"}, "", 1, "not_found"},
		{98, "letter below zero", []string{"dead", "drop", "--", "-1"}, "", 1, "-1: not_found"},
		{98, "letter that is not there, twice", []string{"dead", "replay", "999", "999"}, "", 1, "999: not_found"},
		{98, "no limit", []string{"dead", "list", "--limit", "0"}, "", 2, "--limit"},
		{98, "limit without end", []string{"dead", "list", "--limit", "99999999999999999999"}, "", 2, "--limit"},
		{98, "status in the future", []string{"watch", "--status", "tomorrow"}, "", 1, "status"},
		{98, "account that is not there", []string{"providers", "pause", "../../dead"}, "", 1, "not_found"},
		{98, "operation that is not there", []string{"ask", "cloudrebue", "fly"}, "", 1, "not_found"},
		{98, "opt-out of no number", []string{"opt-out", "cloudrebue", "12"}, "", 1, "invalid"},
		{98, "another server", []string{"status", "x", "--url", "http://127.0.0.1:1"}, "", 1, "cannot reach"},
		{98, "URL of a file", []string{"status", "x", "--url", "file:///etc/passwd"}, "", 2, "--url"},
		{98, "another key", []string{"status", "x", "--key", "nobody"}, "", 1, "API key"},
		{98, "key with a line break", []string{"status", "x", "--key", "a\r\nX: y"}, "", 1, ""},
		{98, "escape sequences in what is typed", []string{"status", "\x1b]0;owned\x07\x1b[2J\u202eid"}, "", 1, "id is not known"},
		{98, "escape sequences in a number", []string{"send", "--to", "\x1b[31m+254", "--from", "ACME", "--text", "x"}, "", 1, "refused +254: invalid_number"},
		{98, "sent and expired", []string{"send", "--to", "+254712345678", "--from", "ACME", "--text", "x", "--expires-at", "2020-01-01T00:00:00Z"}, "", 1, "expired"},
		{48, "formula as a number", []string{"send", "--csv", "-", "--from", "ACME", "--text", "x"}, "to\n=cmd|'/c calc'!A1\n", 1, "line 2, =cmd|'/c calc'!A1: invalid_number"},
		{48, "sum as a number", []string{"send", "--csv", "-", "--from", "ACME", "--text", "x"}, "to\n@SUM(1)\n", 1, "invalid_number"},
		{48, "carriage returns alone", []string{"send", "--csv", "-", "--from", "ACME", "--text", "x"}, "to\r+254712345678\r", 2, "carriage returns"},
		{48, "a line without end", []string{"send", "--csv", "-", "--from", "ACME", "--text", "x"}, "to\n\"" + strings.Repeat("x", 16<<20), 2, "longer than 4 MiB"},
	}
	for _, id := range []string{"", ".", "..", "../dead", "a/b", "%00", "*", ">", "$SYS.>", "a b", "\x00", strings.Repeat("x", 10_000)} {
		list = append(list, command{98, fmt.Sprintf("id %.10q", id), []string{"status", id}, "", 1, ""})
	}
	return list
}

// A command that cannot be meant, or that the server refuses, says so in one line
// that a terminal can show, and changes nothing.
func TestCommands(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	for _, c := range commands() {
		var out, errOut bytes.Buffer
		code := tuma(t, strings.NewReader(c.in), &out, &errOut, append([]string{"--url", "http://" + p.api}, c.args...)...)
		got := errOut.String()
		if code != c.code || !strings.Contains(got, c.says) || got == "" || strings.ContainsAny(got+out.String(), "\x1b\x07\x00\r\u202e") {
			t.Errorf("row %d, %s: exit %d %q %.500q, want %d and %q", c.row, c.name, code, &out, got, c.code, c.says)
		}
	}
	p.goesOn()
	p.nothingElseStored()
}

// full is a standard output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// What cannot be written has not been said: the command fails, and does not go on.
func TestOutputThatFails(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	id := p.accepts()
	for _, args := range [][]string{
		{"key", "new"}, {"status", id}, {"providers"}, {"check", "--print"}, {"watch"}, {"--help"},
		{"send", "--json", "--to", "+254700000099", "--from", "ACME", "--text", "good"},
	} {
		var errOut bytes.Buffer
		ended := make(chan int, 1)
		go func() {
			ended <- cli.Main(t.Context(), append([]string{"--url", "http://" + p.api}, args...), deps(nil, full{}, &errOut))
		}()
		if args[0] == "watch" || args[0] == "send" {
			p.accepts() // something to watch
		}
		select {
		case code := <-ended:
			if code != 1 || !strings.Contains(errOut.String(), "standard output: no space left") {
				t.Errorf("%v: exit %d %q", args, code, errOut.String())
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%v does not end", args)
		}
	}
	p.goesOn()
}

// process starts this program as tuma.
func process(t *testing.T, shell string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", shell + ` exec "$0" "$@"`, os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), asTuma+"=1")
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
	})
	return cmd
}

// exit waits for the end of a process.
func exit(t *testing.T, cmd *exec.Cmd, within time.Duration) int {
	t.Helper()
	late := time.AfterFunc(within, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// A reader that has gone, as head does, ends a command without a word.
func TestReaderThatHasGone(t *testing.T) {
	t.Parallel()
	p := start(t, "")
	id := p.accepts()
	for _, args := range [][]string{{"status", id}, {"watch"}} {
		cmd := process(t, "", append(args, "--url", "http://"+p.api)...)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &errOut
		r.Close()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		done := make(chan struct{})
		go func() { // something to watch
			for tick := time.NewTicker(200 * time.Millisecond); ; {
				select {
				case <-tick.C:
					rig.Call(t, "POST", "http://"+p.api+"/v1/messages", rig.Key, `{"to":"+254700000000","from":"ACME","text":"x"}`)
				case <-done:
					return
				}
			}
		}()
		if code := exit(t, cmd, 20*time.Second); code != 1 || errOut.Len() != 0 {
			t.Errorf("%v: exit %d %q", args, code, &errOut)
		}
		close(done)
	}
}

// small is a tuma up in a process of its own, in a shell that has set limits.
type small struct {
	*program
	cmd *exec.Cmd
}

// startSmall starts it; unread: nobody reads its log any more.
func startSmall(t *testing.T, shell string, unread bool) small {
	t.Helper()
	p := &program{t: t, api: rig.FreeAddr(t), dlr: rig.FreeAddr(t), admin: rig.FreeAddr(t), nats: rig.FreeAddr(t)}
	path := filepath.Join(t.TempDir(), "up.yaml")
	if err := os.WriteFile(path, []byte(p.config(t.TempDir(), rig.FreeAddr(t), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	s := small{p, process(t, shell, "up", "--config", path)}
	s.cmd.Stderr = &p.logs
	if unread {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		defer w.Close() // it has its own
		s.cmd.Stderr = w
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rig.Ready(t, p.admin, &p.logs)
	return s
}

// A machine with 256 files, 64 MB for the heap, an unknown zone and a log that nobody
// reads: strangers take all connections there are, and the next good message leaves
// all the same; SIGHUP and two SIGTERMs end the work in order.
func TestSmallMachine(t *testing.T) {
	t.Parallel()
	for name, signals := range map[string][]syscall.Signal{
		"hangup": {syscall.SIGHUP}, "twice": {syscall.SIGTERM, syscall.SIGTERM}, "after its terminal": {syscall.SIGHUP, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSmall(t, "ulimit -n 256; export GOMEMLIMIT=64MiB TZ=Mars/Base TUMA_LOG=debug;", name == "after its terminal")
			s.goesOn()
			if name == "hangup" {
				strangers(t, s.program, 300)
				s.goesOn()
			}
			for _, sig := range signals {
				if err := s.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			if code := exit(t, s.cmd, 40*time.Second); code != 0 {
				t.Errorf("exit %d\n%s", code, s.logs.Tail(20))
			}
		})
	}
}

// strangers connect to each door and say nothing, until the test ends.
func strangers(t *testing.T, p *program, each int) {
	t.Helper()
	for range each {
		for _, door := range []string{p.api, p.dlr, p.admin} {
			conn, err := net.DialTimeout("tcp", door, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
}
