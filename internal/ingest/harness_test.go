package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tuma-sms/tuma/internal/bus"
	"github.com/tuma-sms/tuma/internal/bus/embedded"
	"github.com/tuma-sms/tuma/internal/ingest"
	"github.com/tuma-sms/tuma/internal/journal"
	"github.com/tuma-sms/tuma/internal/route"
	"github.com/tuma-sms/tuma/internal/service"
	"github.com/tuma-sms/tuma/internal/status"
	"github.com/tuma-sms/tuma/internal/testkit/natstest"
	"github.com/tuma-sms/tuma/pkg/envelope"
	"github.com/tuma-sms/tuma/pkg/providers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is ingest with everything real behind it but Redis.
type rig struct {
	t       testing.TB
	server  *embedded.Server
	bus     *bus.Bus
	in      *ingest.Ingest
	status  *status.Store
	journal *journal.Journal
	url     string
	client  *http.Client
	logs    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// anything is the check of an account that carries everything.
func anything(*providers.Message) error { return nil }

// start starts a rig with the tenants acme (key k-acme, Kenya), beta (k-beta,
// one sender, one account, 5 recipients an hour) and ops (k-ops, operator), and
// the accounts ke (batches of 2), world (batches of 1000) and latin (GSM-7 only).
func start(t testing.TB, change ...func(*ingest.Options)) *rig {
	t.Helper()
	tenants := []ingest.Tenant{
		{Name: "acme", Keys: [][32]byte{sha256.Sum256([]byte("k-acme")), sha256.Sum256([]byte("k-acme-2"))}, DefaultRegion: "KE"},
		{Name: "beta", Keys: [][32]byte{sha256.Sum256([]byte("k-beta"))}, Senders: []string{"BETA"}, Accounts: []string{"world"}, Rate: ingest.Rate{Messages: 5, Per: time.Hour}},
		{Name: "ops", Keys: [][32]byte{sha256.Sum256([]byte("k-ops"))}, Operator: true, StrictNumbers: true},
	}
	accounts := []ingest.Account{
		{Name: "ke", Type: "cloudrebue", BatchSize: 2, Check: anything},
		{Name: "world", Type: "bulksmsrates", BatchSize: 10_000, Check: func(m *providers.Message) error {
			if m.Text == "panic" {
				panic("an adapter's bug, met at " + m.To)
			}
			return nil
		}},
		{Name: "latin", Type: "smsbox", BatchSize: 1000, Check: func(m *providers.Message) error {
			if enc, _ := envelope.Measure(m.Text); enc != envelope.GSM7 {
				return &providers.Error{Class: providers.RejectedHere, Detail: "plain text only"}
			}
			return nil
		}},
	}
	r := &rig{t: t, logs: &lockedBuffer{}}
	r.server = natstest.Server(t)
	r.bus = natstest.Connect(t, r.server, []string{"acme", "beta", "ops"}, []string{"ke", "world", "latin"})
	log := slog.New(slog.NewJSONHandler(r.logs, nil))
	r.journal = journal.New(r.bus, journal.Options{Owner: "test", Log: log})
	r.status = status.New(status.Options{Log: log})
	o := ingest.Options{
		Bus: r.bus, Tenants: tenants, Accounts: accounts, Journal: r.journal, Status: r.status, Log: log,
		Routes: []route.Rule{
			{Prefix: "+254", Accounts: []string{"ke", "world"}},
			{Prefix: "+1", Accounts: []string{"world"}},
			{Prefix: "+33", Accounts: []string{"latin"}},
		},
	}
	for _, c := range change {
		c(&o)
	}
	var err error
	if r.in, err = ingest.New(o); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + ln.Addr().String()
	r.client = &http.Client{Transport: &http.Transport{}}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- service.Run(ctx, 5*time.Second,
			service.Part{Name: "journal", Run: r.journal.Run},
			service.Part{Name: "status", Run: func(ctx context.Context) error {
				return r.status.Run(ctx, r.bus, []string{"acme", "beta", "ops"}, []string{"ke", "world", "latin"})
			}},
			service.Part{Name: "hop", Run: r.in.Run},
			service.Server("api", ln, r.in.Handler(), service.ServerOptions{}))
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("stopping: %v", err)
		}
		r.client.CloseIdleConnections()
	})
	r.eventually("status ready", func() bool { return r.status.Ready() })
	<-r.journal.Ready()
	return r
}

// eventually waits for something that other goroutines bring about.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within 10 s\n%s", what, r.logs)
		}
		time.Sleep(5 * time.Millisecond) // polling a condition, not synchronisation by guess
	}
}

// answer is an HTTP answer.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
}

// do makes a request as the tenant with the key; header are pairs.
func (r *rig) do(key, method, path, body string, header ...string) answer {
	r.t.Helper()
	return r.send(key, method, path, strings.NewReader(body), header...)
}

func (r *rig) send(key, method, path string, body io.Reader, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// post submits a JSON body as acme.
func (r *rig) post(body string, header ...string) answer {
	r.t.Helper()
	return r.do("k-acme", http.MethodPost, "/v1/messages", body, header...)
}

// accepted submits and fails unless it is accepted.
func (r *rig) accepted(body string, header ...string) ingest.Answer {
	r.t.Helper()
	a := r.post(body, header...)
	if a.status != http.StatusAccepted {
		r.t.Fatalf("status %d: %s", a.status, a.body)
	}
	var out ingest.Answer
	a.into(r.t, &out)
	return out
}

// queue returns the pieces in an account's queue once there are n of them.
func (r *rig) queue(account string, n int) []envelope.Piece {
	r.t.Helper()
	var pieces []envelope.Piece
	r.eventually("pieces for "+account, func() bool {
		pieces = nil
		err := r.bus.Range(r.t.Context(), bus.QueueStream(account), 1, 10_000, func(m *bus.Msg) {
			var p envelope.Piece
			if err := json.Unmarshal(m.Data, &p); err != nil {
				r.t.Fatal(err)
			}
			if want := bus.QueueSubject(p.Account, string(p.Priority), p.Tenant); m.Subject != want || p.Account != account {
				r.t.Fatalf("piece on %s, want %s", m.Subject, want)
			}
			pieces = append(pieces, p)
		})
		return err == nil && len(pieces) >= n
	})
	if len(pieces) != n {
		r.t.Fatalf("%d pieces for %s, want %d", len(pieces), account, n)
	}
	return pieces
}

// events returns the events of a tenant and status once they tell of n messages.
func (r *rig) events(tenant string, s envelope.Status, n int) []envelope.Event {
	r.t.Helper()
	var events []envelope.Event
	count := 0
	r.eventually("events "+string(s), func() bool {
		events, count = nil, 0
		ctx, stop := context.WithCancel(r.t.Context())
		defer stop()
		_ = r.bus.Tail(ctx, bus.Tail{Stream: bus.EventStream, Filters: []string{bus.EventSubject(tenant, string(s))}}, func(m *bus.Msg) {
			var e envelope.Event
			if err := json.Unmarshal(m.Data, &e); err != nil {
				r.t.Fatal(err)
			}
			events = append(events, e)
			count += len(e.Messages)
		}, stop)
		return count >= n
	})
	if count != n {
		r.t.Fatalf("%d messages in %s events, want %d: %+v", count, s, n, events)
	}
	return events
}

// publish publishes as a client does and returns the ack.
func (r *rig) publish(subject, body string, header ...string) bus.Ack {
	r.t.Helper()
	o := bus.Out{Subject: subject, Data: []byte(body), Header: bus.Header{}}
	for i := 0; i+1 < len(header); i += 2 {
		o.Header[header[i]] = []string{header[i+1]}
	}
	ack, err := r.bus.Publish(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return ack
}
