package bulksmsrates

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

const (
	webhookPath   = "/settings/webhooks"
	mostHookPages = 4
	hookCreated   = "webhook created"
	otherSecret   = "; the gateway gave it a secret that is not in credentials.webhook_secret: set it there, or nothing that it sends counts"
)

// hookEvents are the "Webhook Events", all of which are understood.
var hookEvents = []string{eventDLR, "opt_out", "campaign.completed", "campaign.failed", "balance.low", "whatsapp.message"}

// hook is a configured webhook. The fields are not documented.
type hook struct {
	id, url string
	events  []string // nil: not told
	idle    bool     // marked inactive
}

// Subscribe implements providers.Subscriber with the option webhooks. A webhook is
// ours if its URL is ours, or was before its last part, the token, was changed;
// others are never touched. One that is inactive ("After 3 failures → webhook
// marked inactive"), has another URL or lacks an event is updated; if there is
// none, one is created.
//
// The document does not say who makes the secret of a webhook. If the answer to
// creating one tells a secret that the account does not have, that is said; the
// secret itself is not.
func (p *provider) Subscribe(ctx context.Context, callback string, slot providers.Slot) (changed string, err error) {
	if !p.webhooks {
		return "", nil
	}
	hooks, err := p.hooks(ctx, slot)
	if err != nil {
		return "", err
	}
	mine := slices.IndexFunc(hooks, func(h hook) bool { return h.url == callback })
	if before := beforeToken(callback); mine < 0 && strings.HasSuffix(before, "/"+url.PathEscape(p.account)) { // else there is no token in it
		mine = slices.IndexFunc(hooks, func(h hook) bool { return beforeToken(h.url) == before })
	}
	if mine < 0 {
		return p.createHook(ctx, callback, slot)
	}
	h := &hooks[mine]
	switch {
	case h.idle:
		changed = "webhook re-activated"
	case h.url != callback:
		changed = "webhook moved to the new token"
	case !hasAll(h.events):
		changed = "webhook gets all events"
	default:
		return "", nil
	}
	body := map[string]any{"url": callback, "events": hookEvents, "active": true}
	_, err = p.callJSON(ctx, http.MethodPatch, webhookPath+"/"+url.PathEscape(h.id), body, slot)
	if err != nil {
		return "", err
	}
	return changed, nil
}

func hasAll(events []string) bool {
	for _, e := range hookEvents {
		if events != nil && !slices.Contains(events, e) {
			return false
		}
	}
	return true
}

// beforeToken is a URL of ours without its last part.
func beforeToken(u string) string {
	i := strings.LastIndexByte(u, '/')
	return u[:max(i, 0)]
}

func (p *provider) createHook(ctx context.Context, callback string, slot providers.Slot) (string, error) {
	resp, err := p.callJSON(ctx, http.MethodPost, webhookPath, map[string]any{"url": callback, "events": hookEvents}, slot)
	if err != nil {
		return "", err
	}
	changed := hookCreated
	top, err := read(resp.Body)
	if err != nil {
		return changed, nil
	}
	secret := top.within("data").within("webhook").first("secret", "signing_secret", "webhook_secret")
	struck := strings.Trim(secret, "*") == "" // by httpapi, which lets no credential of ours through
	if !struck && !slices.ContainsFunc(p.secrets, func(s []byte) bool { return string(s) == secret }) {
		changed += otherSecret
	}
	return changed, nil
}

// hooks lists the account's webhooks.
func (p *provider) hooks(ctx context.Context, slot providers.Slot) (out []hook, err error) {
	query := url.Values{"page_size": {strconv.Itoa(pageSize)}}
	for range mostHookPages {
		resp, err := p.call(ctx, httpapi.Request{Method: http.MethodGet, Path: webhookPath, Query: query}, slot)
		if err != nil {
			return nil, err
		}
		if resp.Status/100 != 2 {
			return nil, p.failure(resp, 1)
		}
		list, rest, err := readList(resp.Body, "url")
		if err != nil {
			return nil, p.http.Failure(resp)
		}
		for _, f := range list {
			out = append(out, hookOf(f))
		}
		if rest.cursor == "" {
			break
		}
		query.Set("cursor", rest.cursor)
	}
	return out, nil
}

func hookOf(f fields) hook {
	h := hook{id: f.id("id", "webhook_id"), url: f.first("url", "endpoint")}
	if list, ok := f.value("events").([]any); ok {
		h.events = []string{}
		for _, v := range list {
			h.events = append(h.events, scalar(v))
		}
	}
	switch strings.ToLower(f.first("status", "state")) {
	case "inactive", "disabled", "paused":
		h.idle = true
	}
	h.idle = h.idle || f.first("active", "is_active", "enabled") == "false"
	return h
}

// callJSON makes one request with a body, in a slot of its own.
func (p *provider) callJSON(ctx context.Context, method, path string, body any, slot providers.Slot) (*httpapi.Response, error) {
	data, err := httpapi.JSON(body)
	if err != nil {
		return nil, err
	}
	resp, err := p.call(ctx, httpapi.Request{Method: method, Path: path, ContentType: jsonType, Body: data}, slot)
	if err == nil && resp.Status/100 != 2 {
		err = named(p.failure(resp, 1))
	}
	return resp, err
}
