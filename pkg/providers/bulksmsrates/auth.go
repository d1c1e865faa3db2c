package bulksmsrates

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

const (
	tokenLives = 15 * time.Minute // "Access token TTL: 15 minutes"
	renewEarly = 2 * time.Minute  // before its end, while others can go on with it
	youngToken = time.Minute      // what is refused at this age is refused for another reason
	firstShut  = 5 * time.Minute  // after a refused log-in, doubling: five lock the account
	longShut   = time.Hour
)

// login is how an account proves who it is.
type login interface {
	// token returns what goes into Authorization, empty for none. It may have to
	// ask the gateway first, in the slot of the request that it is for: then that
	// request was not made, and the error wraps providers.ErrAgain.
	token(ctx context.Context, start func() error) (string, error)
	// lapsed is told of a 401 for a token. It reports whether another try makes sense.
	lapsed(token string) bool
}

// keyPair is "API Key + Secret": two headers on every request, and no token.
type keyPair struct{}

func (keyPair) token(context.Context, func() error) (string, error) { return "", nil }
func (keyPair) lapsed(string) bool                                  { return false }

// session is "Bearer JWT": a token that lives 15 minutes, renewed by a refresh
// token that is replaced each time, or by logging in again. The shape of the
// answers is not documented; see readTokens.
//
// A refresh token alone suits one process: the first that uses it makes it void
// for the others.
type session struct {
	http            *httpapi.Client
	email, password string
	now             func() time.Time

	mu       sync.Mutex
	refresh  string
	access   string
	got      time.Time
	until    time.Time
	flight   chan struct{} // closed when the renewal under way has ended; nil: none is
	shut     time.Time     // no log-in and no refresh before
	failures int
}

func (s *session) token(ctx context.Context, start func() error) (string, error) {
	for {
		s.mu.Lock()
		left := s.until.Sub(s.now())
		if left > renewEarly || left > 0 && s.flight != nil {
			defer s.mu.Unlock()
			return s.access, nil
		}
		flight := s.flight
		if flight == nil {
			s.flight = make(chan struct{})
			s.mu.Unlock()
			err := s.renew(ctx, start)
			s.mu.Lock()
			close(s.flight)
			s.flight = nil
			s.mu.Unlock()
			if err == nil && start != nil {
				err = &providers.Error{Class: providers.Unavailable, Err: providers.ErrAgain}
			}
			if err != nil {
				return "", err
			}
			continue
		}
		s.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return "", &providers.Error{Class: providers.Unavailable, Err: ctx.Err()}
		}
	}
}

func (s *session) lapsed(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token != s.access {
		return true // renewed meanwhile
	}
	if s.now().Sub(s.got) < youngToken {
		return false
	}
	s.until = time.Time{}
	return true
}

// renew makes one request for a new token. Nothing of the account's own was sent
// then, so an error is never Uncertain.
func (s *session) renew(ctx context.Context, start func() error) error {
	s.mu.Lock()
	path, body := "/auth/login", map[string]string{"email": s.email, "password": s.password}
	refresh := s.refresh
	if refresh != "" {
		path, body = "/auth/refresh", map[string]string{"refresh_token": refresh}
	}
	wait := s.shut.Sub(s.now())
	s.mu.Unlock()
	if wait > 0 {
		return &providers.Error{Class: providers.Misconfigured, RetryAfter: wait, Detail: "the log-in was refused; the next try waits, as five lock the account"}
	}
	data, err := httpapi.JSON(body)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(ctx, httpapi.Request{Method: http.MethodPost, Path: path, ContentType: jsonType, Body: data, Start: start})
	if err != nil {
		return notSent(err)
	}
	if refresh != "" && resp.Status/100 != 2 { // one that was renewed is in no config, so httpapi does not know it
		resp.Body = bytes.ReplaceAll(resp.Body, []byte(refresh), []byte(hidden))
	}
	return s.learn(resp, refresh != "")
}

// learn takes the tokens of an answer.
func (s *session) learn(resp *httpapi.Response, refreshing bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if resp.Status/100 == 2 {
		access, refresh, lives := readTokens(resp.Body)
		if access == "" {
			return &providers.Error{Class: providers.Misconfigured, Status: resp.Status, Detail: "the log-in's answer has no token"}
		}
		s.access, s.got, s.until = access, s.now(), s.now().Add(lives)
		s.failures, s.shut = 0, time.Time{}
		if s.refresh = refresh; refresh == "" && s.email == "" {
			return &providers.Error{Class: providers.Misconfigured, Status: resp.Status, Detail: "the answer has no new refresh token, and there is nothing to log in with"}
		}
		return nil
	}
	e := failure(s.http, resp, 1, s.now())
	locked := e.Code == "ACCOUNT_LOCKED" // 401 or 429: another try keeps it locked
	switch {
	case resp.Status/100 == 5:
		return notSent(e)
	case resp.Status/100 != 4 || resp.Status == http.StatusTooManyRequests && !locked:
		return e
	case refreshing && s.email != "" && !locked: // used up, or older than seven days
		s.refresh = ""
		return &providers.Error{Class: providers.Unavailable, Status: resp.Status, Code: e.Code, Err: providers.ErrAgain}
	}
	wait := min(firstShut<<min(s.failures, 10), longShut)
	s.failures++
	s.shut = s.now().Add(wait)
	e.Class, e.RetryAfter, e.Bisect = providers.Misconfigured, wait, false
	return e
}

// notSent says of a failure before the request proper that nothing was sent.
func notSent(err error) error {
	var e *providers.Error
	if errors.As(err, &e) && e.Class == providers.Uncertain {
		own := *e
		own.Class = providers.Unavailable
		return &own
	}
	return err
}

// readTokens reads the answer to a log-in or a refresh, whose shape is not
// documented: tokens under their usual names, at the top, in data or in tokens.
func readTokens(body []byte) (access, refresh string, lives time.Duration) {
	var top map[string]any
	if json.Unmarshal(body, &top) != nil {
		return "", "", 0
	}
	a := fields{top}.within("data").within("tokens")
	lives = tokenLives
	if n, err := strconv.ParseFloat(a.first("expires_in", "expiresIn"), 64); err == nil && n > 0 && n < tokenLives.Seconds() {
		lives = time.Duration(n * float64(time.Second))
	}
	return a.first("access_token", "accessToken", "token"), a.first("refresh_token", "refreshToken"), lives
}

// do makes one request in the account's name, with its headers beside the request's
// own.
func (p *provider) do(ctx context.Context, r httpapi.Request) (*httpapi.Response, error) {
	token, err := p.login.token(ctx, r.Start)
	if err != nil {
		return nil, err
	}
	own := r.Header
	r.Header = p.header
	if token != "" || own != nil {
		r.Header = p.header.Clone()
		maps.Copy(r.Header, own)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.http.Do(ctx, r)
	if err == nil && resp.Status == http.StatusUnauthorized && p.login.lapsed(token) {
		return nil, &providers.Error{Class: providers.Unavailable, Status: resp.Status, Err: providers.ErrAgain}
	}
	return resp, err
}
