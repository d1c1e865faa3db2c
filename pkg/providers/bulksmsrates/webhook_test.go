package bulksmsrates_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/bulksmsrates"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

const (
	secret  = "canary-webhook"
	payload = `{"event": "message.delivered", "data": {"message_id": "m-1"}}`
)

func sign(secret, stamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "." + body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// signed returns an authentic webhook that was sent at a time and arrives at
// providertest.Now.
func signed(body string, at time.Time) *providers.Callback {
	stamp := strconv.FormatInt(at.Unix(), 10)
	return &providers.Callback{
		Method: http.MethodPost, Body: []byte(body), Time: providertest.Now(),
		Header: http.Header{"X-Webhook-Timestamp": {stamp}, "X-Webhook-Signature": {sign(secret, stamp, body)}},
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	now := providertest.Now()
	stamp := strconv.FormatInt(now.Unix(), 10)
	good := sign(secret, stamp, payload)
	stamped := func(s string) *providers.Callback {
		return &providers.Callback{Body: []byte(payload), Time: now, Header: http.Header{
			"X-Webhook-Timestamp": {s}, "X-Webhook-Signature": {sign(secret, s, payload)},
		}}
	}
	signature := func(values ...string) *providers.Callback {
		cb := signed(payload, now)
		cb.Header["X-Webhook-Signature"] = values
		return cb
	}
	type verdict struct {
		cb *providers.Callback
		ok bool
	}
	for name, v := range map[string]verdict{
		"signed":                {signed(payload, now), true},
		"third try":             {signed(payload, now.Add(-5*time.Minute-35*time.Second)), true},
		"edge":                  {signed(payload, now.Add(-15*time.Minute)), true},
		"old":                   {signed(payload, now.Add(-15*time.Minute-time.Second)), false},
		"from the future":       {signed(payload, now.Add(15*time.Minute+time.Second)), false},
		"upper case":            {signature("sha256=" + strings.ToUpper(good[7:])), true},
		"no signature":          {signature(), false},
		"empty":                 {signature("sha256="), false},
		"short":                 {signature(good[:len(good)-2]), false},
		"other algorithm":       {signature("sha1=" + good[7:]), false},
		"no algorithm":          {signature(good[7:]), false},
		"twice":                 {signature(good, good), false},
		"no hex":                {signature("sha256=" + strings.Repeat("z", 64)), false},
		"by another secret":     {signature(sign("other", stamp, payload)), false},
		"by no secret":          {signature(sign("", stamp, payload)), false},
		"of another body":       {signature(sign(secret, stamp, payload+" ")), false},
		"of another timestamp":  {signature(sign(secret, "1", payload)), false},
		"no timestamp":          {stamped(""), false},
		"milliseconds":          {stamped(stamp + "000"), false},
		"negative":              {stamped("-" + stamp), false},
		"plus":                  {stamped("+" + stamp), false},
		"zero":                  {stamped("0"), false},
		"float":                 {stamped(stamp + ".0"), false},
		"exponent":              {stamped("1e30"), false},
		"beyond all numbers":    {stamped(strings.Repeat("9", 40)), false},
		"space":                 {stamped(" " + stamp), false},
		"words":                 {stamped("now"), false},
		"no headers whatsoever": {&providers.Callback{Body: []byte(payload), Time: now}, false},
	} {
		r := account(t, nil, nil).(providers.Reporter)
		if err := r.VerifyReport(v.cb); (err == nil) != v.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRotation: while a secret is replaced both count, and after that one.
func TestRotation(t *testing.T) {
	t.Parallel()
	cb := signed(payload, providertest.Now())
	for secrets, ok := range map[string]bool{secret: true, "new, " + secret: true, secret + ",new": true, "new": false, "new,": false} {
		p, err := bulksmsrates.New(providers.Options{Credentials: map[string]string{"api_key": "k", "api_secret": "s", "webhook_secret": secrets}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.(providers.Reporter).VerifyReport(cb); (err == nil) != ok {
			t.Errorf("secrets %q: %v", secrets, err)
		}
	}
	_, err := bulksmsrates.New(providers.Options{Credentials: map[string]string{"api_key": "k", "api_secret": "s", "webhook_secret": " , "}})
	if err == nil || !strings.Contains(err.Error(), "webhook_secret") {
		t.Errorf("blank secrets: %v", err)
	}
}

// TestTolerance: the account's own wins.
func TestTolerance(t *testing.T) {
	t.Parallel()
	p := account(t, nil, map[string]any{"webhook_tolerance": "1m"}).(providers.Reporter)
	for age, ok := range map[time.Duration]bool{time.Minute: true, 61 * time.Second: false} {
		if err := p.VerifyReport(signed(payload, providertest.Now().Add(-age))); (err == nil) != ok {
			t.Errorf("%v old: %v", age, err)
		}
	}
}

func TestParseReports(t *testing.T) {
	t.Parallel()
	p := account(t, nil, nil).(providers.Reporter)
	for body, want := range map[string]struct {
		reports int
		ok      bool
	}{
		`{"event": "campaign.completed", "data": {"message_id": "x"}}`: {0, true},
		`{"event": "campaign.failed"}`:                                 {0, true},
		`{"event": "OPT_OUT", "data": []}`:                             {0, true},
		`{"event": "whatsapp.message", "data": {"message_id": "x"}}`:   {0, true},
		`{"event": "invoice.paid", "data": {"id": "x"}}`:               {0, true},
		`{"event": "message.read", "data": {"message_id": "x"}}`:       {1, true},
		`{"event": "message.delivered", "data": {}}`:                   {0, false},
		`{"event": "message.delivered", "data": []}`:                   {0, false},
		`{"event": "message.delivered", "data": {"message_id": {}}}`:   {0, false},
		`{"event": ""}`: {0, false},
		`[]`:            {0, false},
		``:              {0, false},
	} {
		reports, err := p.ParseReports(&providers.Callback{Body: []byte(body)})
		if len(reports) != want.reports || (err == nil) != want.ok {
			t.Errorf("%s: %d reports, %v", body, len(reports), err)
		}
	}
	for ref, want := range map[string]string{"batch-1": "batch-1", "Batch 1": "", "*": "", strings.Repeat("x", 41): ""} {
		body := `{"event": "message.failed", "client_ref": "` + ref + `", "data": {"message_id": "m"}}`
		reports, err := p.ParseReports(&providers.Callback{Body: []byte(body)})
		if err != nil || len(reports) != 1 || reports[0].BatchID != want {
			t.Errorf("client_ref %q: %+v, %v", ref, reports, err)
		}
	}
}

// FuzzVerify: nothing is authentic but what the document's rule says, reckoned here
// once more and in another way.
func FuzzVerify(f *testing.F) {
	now := providertest.Now()
	good := strconv.FormatInt(now.Unix(), 10)
	f.Add(sign(secret, good, payload), good, []byte(payload))
	f.Add("sha256=", good, []byte(payload))
	f.Add("sha1=00", "-1", []byte{})
	f.Add(strings.ToUpper(sign(secret, good, payload)), "1e30", []byte(payload))
	f.Add("sha256="+strings.Repeat("0", 64), "99999999999999999999", []byte("\x00"))
	p := account(f, nil, nil).(providers.Reporter)
	f.Fuzz(func(t *testing.T, signature, stamp string, body []byte) {
		err := p.VerifyReport(&providers.Callback{
			Method: http.MethodPost, Body: body, Time: now,
			Header: http.Header{"X-Webhook-Timestamp": {stamp}, "X-Webhook-Signature": {signature}},
		})
		at, perr := strconv.ParseUint(stamp, 10, 40)
		near := perr == nil && now.Unix()-int64(at) <= 900 && int64(at)-now.Unix() <= 900
		same := strings.EqualFold(signature[min(len(signature), 7):], sign(secret, stamp, string(body))[7:]) && strings.HasPrefix(signature, "sha256=")
		if want := near && same; want != (err == nil) {
			t.Fatalf("%q %q: %v", signature, stamp, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Fatal(err)
		}
	})
}
