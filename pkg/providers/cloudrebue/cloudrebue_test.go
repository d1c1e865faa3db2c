package cloudrebue

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/providertest"
)

func suite() providertest.Suite {
	return providertest.Suite{
		New:         New,
		Credentials: map[string]string{"token": "canary-token"},
		Dir:         "testdata",
		Features:    providertest.Features{Reports: true},
		Accept:      accept,
		Report: func(status string) *providers.Callback {
			body := fmt.Sprintf(`{"phone": "254712345678", "correlator": "01jq-0", "deliveryStatus": %q}`, status)
			return &providers.Callback{Method: http.MethodPost, Body: []byte(body)}
		},
	}
}

// accept takes everything, answers in reverse order, and with numbers where it
// can, as the document's examples do.
func accept(_ *http.Request, body []byte) string {
	var items []item
	if json.Unmarshal(body, &items) != nil {
		items = make([]item, 1) // one alone is no array
		if err := json.Unmarshal(body, &items[0]); err != nil {
			return err.Error()
		}
	}
	list := []map[string]any{}
	for i := len(items) - 1; i >= 0; i-- {
		list = append(list, map[string]any{"status": true, "message": "Message successfully queued!", "data": map[string]any{
			"correlator": items[i].Correlator, "uniqueId": "u" + items[i].Correlator, "phone": items[i].Phone, "sms_units": 1,
		}})
	}
	out, err := json.Marshal(list)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func TestConformance(t *testing.T) { providertest.Run(t, suite()) }

func FuzzSend(f *testing.F) { providertest.FuzzSend(f, suite()) }

func FuzzReports(f *testing.F) { providertest.FuzzReports(f, suite()) }
