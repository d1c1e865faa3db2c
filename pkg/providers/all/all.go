// Package all lists the provider types that Tuma has, explicitly: what is not
// here does not exist.
package all

import (
	"time"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/bulksmsrates"
	"github.com/tuma-sms/tuma/pkg/providers/cloudrebue"
	"github.com/tuma-sms/tuma/pkg/providers/digitalservices"
	"github.com/tuma-sms/tuma/pkg/providers/smsbox"
	"github.com/tuma-sms/tuma/pkg/providers/smsscheduler"
)

// Type is one type of provider, with what an account of it gets unless its
// configuration says otherwise.
type Type struct {
	New         providers.Factory
	BaseURL     string        // the API's own
	BatchSize   int           // recipients of one request, which is also the most
	Rate        int           // requests a second
	Credentials []string      // keys that an account may have; New says which are missing
	ToSend      []string      // of these: needed to send, and for nothing else
	ToHear      []string      // of these: needed to believe callbacks, and for nothing else
	LookUp      time.Duration // how long no report may come before a look-up; 0: it has none of its own
}

// Types returns every type by its name in the configuration. The map is the
// caller's.
func Types() map[string]Type {
	return map[string]Type{
		"cloudrebue": {
			New: cloudrebue.New, BaseURL: cloudrebue.BaseURL, BatchSize: 100, Rate: 120,
			Credentials: []string{"token"}, ToSend: []string{"token"},
		},
		"smsbox": {
			New: smsbox.New, BaseURL: smsbox.BaseURL, BatchSize: 1000, Rate: 10,
			Credentials: []string{"api_key", "api_secret"},
		},
		"bulksmsrates": {
			New: bulksmsrates.New, BaseURL: bulksmsrates.BaseURL, BatchSize: 10_000, Rate: 100,
			Credentials: []string{"api_key", "api_secret", "email", "password", "refresh_token", "webhook_secret", "verify_token"},
			ToHear:      []string{"webhook_secret", "verify_token"},
			LookUp:      time.Hour, // it calls; a look-up is for calls that were lost
		},
		"digitalservices": {
			New: digitalservices.New, BaseURL: digitalservices.BaseURL, BatchSize: 500, Rate: 10,
			Credentials: []string{"api_key", "username", "password", "dlr_username", "dlr_password"},
			ToSend:      []string{"api_key", "username", "password"},
		},
		"smsscheduler": {
			New: smsscheduler.New, BaseURL: smsscheduler.BaseURL, BatchSize: 500, Rate: 10,
			Credentials: []string{"token"},
		},
	}
}

// Factories returns every type's factory by its name in the configuration. The
// map is the caller's.
func Factories() map[string]providers.Factory {
	factories := make(map[string]providers.Factory)
	for name, t := range Types() {
		factories[name] = t.New
	}
	return factories
}
