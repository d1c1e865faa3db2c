package bulksmsrates_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/bulksmsrates"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

// issuer is a gateway that knows bearer tokens only: each log-in or refresh makes
// the tokens before it void.
type issuer struct {
	mu      sync.Mutex
	n       int
	refused int    // status of log-ins; 0: they work
	broken  bool   // it takes no token at all
	says    string // of a refresh that it refuses
	answer  string // of log-ins, with %d for the number; empty: the usual one
	paths   []string
	seen    []string      // Authorization of the other requests
	hold    chan struct{} // a renewal waits for it; nil: none does
	holding chan struct{}
}

func (g *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if g.hold != nil && strings.Contains(r.URL.Path, "/auth/") {
		g.holding <- struct{}{}
		<-g.hold
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paths = append(g.paths, strings.TrimPrefix(r.URL.Path, "/v1"))
	status, answer := 200, `{"messageId": "m-1", "status": "queued"}`
	var in map[string]string
	switch {
	case strings.HasSuffix(r.URL.Path, "/auth/refresh"):
		_ = json.Unmarshal(body, &in)
		if in["refresh_token"] != fmt.Sprint("refresh-", g.n) {
			status, answer = 401, `{"error": {"code": "UNAUTHORIZED", "message": "expired `+g.says+`"}}`
			break
		}
		answer = g.issue()
	case strings.HasSuffix(r.URL.Path, "/auth/login"):
		_ = json.Unmarshal(body, &in)
		if g.refused != 0 || in["email"] == "" || in["password"] == "" {
			status, answer = g.refused, `{"error": {"code": "UNAUTHORIZED", "message": "no"}}`
			break
		}
		answer = g.issue()
	default:
		token := r.Header.Get("Authorization")
		if g.seen = append(g.seen, token); token != fmt.Sprint("Bearer access-", g.n) || g.broken {
			status, answer = 401, `{"error": {"code": "UNAUTHORIZED", "message": "Missing, invalid, or expired credentials"}}`
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer))}, nil
}

func (g *issuer) issue() string {
	g.n++
	if g.answer != "" {
		return fmt.Sprintf(g.answer, g.n, g.n)
	}
	return fmt.Sprintf(`{"data": {"access_token": "access-%d", "refresh_token": "refresh-%d", "expires_in": 900}}`, g.n, g.n)
}

// clock is a clock that stands still unless told otherwise.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

var loginCredentials = map[string]string{"email": "a@example.com", "password": "canary-password", "webhook_secret": secret}

func bearer(t *testing.T, g *issuer, credentials map[string]string) (providers.Provider, *clock) {
	t.Helper()
	c := &clock{at: providertest.Now()}
	p, err := bulksmsrates.New(providers.Options{Credentials: credentials, Transport: g, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

// try sends one message in a slot, and returns the error's class, whether another
// try may come at once, and how often the slot was used.
func try(t *testing.T, p providers.Provider) (class providers.Class, again bool, slots int) {
	t.Helper()
	b := batch("x")
	b.Start = func() error { slots++; return nil }
	_, err := p.Send(t.Context(), b)
	if err == nil {
		return providers.Accepted, false, slots
	}
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	if strings.Contains(err.Error(), "canary-password") || strings.Contains(err.Error(), "access-") || strings.Contains(err.Error(), "refresh-") {
		t.Errorf("a secret is in %q", err)
	}
	return e.Class, errors.Is(err, providers.ErrAgain), slots
}

// TestBearer: a request without a token is spent on the log-in, and says so; from
// then on tokens are refreshed before they end, one request each, and never is a
// send made twice.
func TestBearer(t *testing.T) {
	t.Parallel()
	g := &issuer{}
	p, c := bearer(t, g, loginCredentials)
	want := func(step string, class providers.Class, again bool, paths ...string) {
		t.Helper()
		g.paths = nil
		got, more, slots := try(t, p)
		if got != class || more != again || fmt.Sprint(g.paths) != fmt.Sprint(paths) || slots != len(paths) {
			t.Fatalf("%s: %v, again %v, %v in %d slots; want %v, again %v, %v", step, got, more, g.paths, slots, class, again, paths)
		}
	}
	want("first", providers.Unavailable, true, "/auth/login")
	want("with a token", providers.Accepted, false, "/sms/send")
	c.advance(12 * time.Minute)
	want("still young", providers.Accepted, false, "/sms/send")
	c.advance(2 * time.Minute)
	want("about to end", providers.Unavailable, true, "/auth/refresh")
	want("refreshed", providers.Accepted, false, "/sms/send")

	g.n += 10 // somebody else's log-in has made all tokens void
	c.advance(2 * time.Minute)
	want("refused", providers.Unavailable, true, "/sms/send")
	want("refresh refused", providers.Unavailable, true, "/auth/refresh")
	want("log-in", providers.Unavailable, true, "/auth/login")
	want("well again", providers.Accepted, false, "/sms/send")

	g.broken = true // a new token that is refused is no matter of age
	c.advance(time.Second)
	want("refused for another reason", providers.Misconfigured, false, "/sms/send")
}

// TestLogInRefused: five failures lock an account, so tries are far apart.
func TestLogInRefused(t *testing.T) {
	t.Parallel()
	g := &issuer{refused: 401}
	p, c := bearer(t, g, loginCredentials)
	for n, wait := range []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, time.Hour} {
		if class, again, _ := try(t, p); class != providers.Misconfigured || again || len(g.paths) != n+1 {
			t.Fatalf("try %d: %v, %v", n, class, g.paths)
		}
		c.advance(wait - time.Second)
		if class, _, slots := try(t, p); class != providers.Misconfigured || slots != 0 || len(g.paths) != n+1 {
			t.Fatalf("a second before the next: %v, %d slots, %v", class, slots, g.paths)
		}
		c.advance(time.Second)
	}
	if len(g.seen) != 0 {
		t.Errorf("sent without a token: %v", g.seen)
	}
}

// TestLockedAccountIsLeftAlone: whatever status says that no more log-ins are
// wanted, and with either kind of credentials.
func TestLockedAccountIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		code   string
		creds  map[string]string
	}{
		"locked":                {429, "ACCOUNT_LOCKED", loginCredentials},
		"locked, 401":           {401, "ACCOUNT_LOCKED", loginCredentials},
		"refresh token, locked": {429, "ACCOUNT_LOCKED", map[string]string{"refresh_token": "refresh-x", "webhook_secret": secret}},
		"refresh token is void": {401, "UNAUTHORIZED", map[string]string{"refresh_token": "refresh-x", "webhook_secret": secret}},
	} {
		g := &counted{answers: answers{c.status, nil, `{"error": {"code": "` + c.code + `", "message": "no"}}`}}
		at := &clock{at: providertest.Now()}
		p, err := bulksmsrates.New(providers.Options{Credentials: c.creds, Transport: g, Now: at.now})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if class, again, _ := try(t, p); class != providers.Misconfigured || again {
				t.Errorf("%s: %v, again %v", name, class, again)
			}
			at.advance(30 * time.Second)
		}
		if n := g.n.Load(); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
}

// counted counts requests.
type counted struct {
	answers
	n atomic.Int32
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.answers.RoundTrip(r)
}

// TestRenewedTokensStayOutOfErrors: they are in no config, so nobody else strikes them.
func TestRenewedTokensStayOutOfErrors(t *testing.T) {
	t.Parallel()
	g := &issuer{}
	p, c := bearer(t, g, loginCredentials)
	try(t, p) // logs in
	g.says, g.n = "refresh-1 is over", 9
	c.advance(14 * time.Minute)
	for range 2 {
		try(t, p) // looks for secrets in the error
	}
	g = &issuer{n: 9}
	alone, c2 := bearer(t, g, map[string]string{"refresh_token": "refresh-9", "webhook_secret": secret})
	try(t, alone)
	g.says, g.n = "refresh-10 is over", 19
	c2.advance(14 * time.Minute)
	if class, _, _ := try(t, alone); class != providers.Misconfigured {
		t.Error(class)
	}
}

func TestTokenAnswers(t *testing.T) {
	t.Parallel()
	for answer, ok := range map[string]bool{
		`{"accessToken": "access-%d", "refreshToken": "refresh-%d"}`:                       true,
		`{"tokens": {"access_token": "access-%d", "refresh_token": "refresh-%d"}}`:         true,
		`{"data": {"tokens": {"accessToken": "access-%d", "refreshToken": "refresh-%d"}}}`: true,
		`{"token": "access-%d", "refresh_token": "refresh-%d", "expires_in": "900"}`:       true,
		`{"data": {"user": "%d-%d"}}`: false,
		`[%d, %d]`:                    false,
	} {
		g := &issuer{answer: answer}
		p, _ := bearer(t, g, loginCredentials)
		class, again, _ := try(t, p)
		if ok && !again || !ok && class != providers.Misconfigured {
			t.Errorf("%s: %v, again %v", answer, class, again)
		}
		if class, _, _ = try(t, p); ok && class != providers.Accepted {
			t.Errorf("%s: then %v", answer, class)
		}
	}
}

// TestRefreshTokenAlone: it is used once, and the next one is kept.
func TestRefreshTokenAlone(t *testing.T) {
	t.Parallel()
	g := &issuer{n: 7}
	p, c := bearer(t, g, map[string]string{"refresh_token": "refresh-7", "webhook_secret": secret})
	for range 3 {
		if _, again, _ := try(t, p); !again {
			t.Fatal("no refresh")
		}
		if class, _, _ := try(t, p); class != providers.Accepted {
			t.Fatal(class)
		}
		c.advance(15 * time.Minute)
	}
	g.n++ // used up by another process
	if class, again, _ := try(t, p); class != providers.Misconfigured || again {
		t.Errorf("%v, again %v", class, again)
	}
}

// TestOneRenewalAtATime: whoever finds one under way waits for it, or goes on with
// the token that still holds.
func TestOneRenewalAtATime(t *testing.T) {
	t.Parallel()
	g := &issuer{}
	p, _ := bearer(t, g, loginCredentials)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 2 {
				if _, err := p.Send(t.Context(), batch("x")); err != nil && !errors.Is(err, providers.ErrAgain) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if g.n != 1 {
		t.Errorf("%d log-ins", g.n)
	}
}

// TestOthersGoOnWhileATokenIsRenewed: it is renewed early for their sake.
func TestOthersGoOnWhileATokenIsRenewed(t *testing.T) {
	t.Parallel()
	g := &issuer{}
	p, c := bearer(t, g, loginCredentials)
	try(t, p)
	c.advance(14 * time.Minute)
	g.hold, g.holding = make(chan struct{}), make(chan struct{})
	renewed := make(chan error)
	go func() {
		b := batch("x")
		b.Start = func() error { return nil }
		_, err := p.Send(t.Context(), b)
		renewed <- err
	}()
	<-g.holding
	if class, _, _ := try(t, p); class != providers.Accepted {
		t.Errorf("meanwhile: %v", class)
	}
	close(g.hold)
	if err := <-renewed; !errors.Is(err, providers.ErrAgain) {
		t.Error(err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for want, creds := range map[string]map[string]string{
		"email and password":     {"webhook_secret": "s"},
		"credentials.api_secret": {"api_key": "k", "webhook_secret": "s"},
		"credentials.password":   {"email": "e", "webhook_secret": "s"},
		"webhook_secret":         {"email": "e", "password": "p"},
	} {
		_, err := bulksmsrates.New(providers.Options{Credentials: creds})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error that says %s", creds, err, want)
		}
	}
}

// TestLogInFails: whatever becomes of a log-in, the message was not sent.
func TestLogInFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		transport http.RoundTripper
		want      providers.Class
	}{
		"500":           {answers{500, nil, `{"error": {"code": "INTERNAL_ERROR"}}`}, providers.Unavailable},
		"502 of a page": {answers{502, nil, "<html>"}, providers.Unavailable},
		"503":           {answers{503, nil, `{"error": {"code": "SERVICE_UNAVAILABLE"}}`}, providers.Unavailable},
		"no answer":     {silence{}, providers.Unavailable},
		"429":           {answers{429, nil, `{"error": {"code": "RATE_LIMITED"}}`}, providers.Throttled},
		"locked":        {answers{429, nil, `{"error": {"code": "ACCOUNT_LOCKED"}}`}, providers.Misconfigured},
		"403":           {answers{403, nil, `{"error": {"code": "FORBIDDEN"}}`}, providers.Misconfigured},
		"a page":        {answers{200, nil, "<html>"}, providers.Misconfigured},
	} {
		p, err := bulksmsrates.New(providers.Options{Credentials: loginCredentials, Transport: c.transport, Now: providertest.Now})
		if err != nil {
			t.Fatal(err)
		}
		if class, again, _ := try(t, p); class != c.want || again {
			t.Errorf("%s: %v, again %v, want %v", name, class, again, c.want)
		}
	}
}

// silence is a gateway that takes a request whole and never answers.
type silence struct{}

func (silence) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

// TestEachWebhookSecretStaysOutOfErrors: several stand in one credential.
func TestEachWebhookSecretStaysOutOfErrors(t *testing.T) {
	t.Parallel()
	p, err := bulksmsrates.New(providers.Options{
		Credentials: map[string]string{"api_key": "k", "api_secret": "s", "webhook_secret": "canary-old-secret, canary-new-secret"}, Now: providertest.Now,
		Transport: answers{400, nil, `{"error": {"code": "VALIDATION_ERROR", "message": "not canary-new-secret"}}`},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Send(t.Context(), batch("x")); err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}
