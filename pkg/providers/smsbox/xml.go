package smsbox

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"github.com/tuma-sms/tuma/pkg/providers"
	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

const xmlType = "application/xml"

// encode writes a request in the account's format.
func (p *provider) encode(r *sendRequest) ([]byte, error) {
	if !p.xml {
		return httpapi.JSON(r)
	}
	body, err := xml.Marshal(r)
	if err != nil {
		return nil, &providers.Error{Class: providers.Rejected, Err: errors.New("smsbox: the request cannot be encoded")}
	}
	return body, nil
}

// readXML reads an answer in XML. No document shows one: whatever its elements
// are nested in, the fields are looked for under their JSON names. A web page is
// none, and one that says two things of a field says nothing.
func readXML(body []byte) (answer, bool) {
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict = false
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil } // codes and ids are ASCII in all of them
	fields, open := map[string]string{}, ""
	root := true
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return answer{}, false
		}
		switch t := t.(type) {
		case xml.StartElement:
			open = strings.ToLower(t.Name.Local)
			if root && open == "html" {
				return answer{}, false
			}
			root = false
		case xml.EndElement:
			open = ""
		case xml.CharData:
			said := strings.TrimSpace(string(t))
			if open == "" || said == "" {
				continue
			}
			if before, twice := fields[open]; twice && before != said {
				return answer{}, false
			}
			fields[open] = said
		}
	}
	a := answer{
		Status: httpapi.TruthOf(fields["status"]), Code: httpapi.Scalar(fields["code"]),
		Message: httpapi.Words(fields["message"]), Error: httpapi.Words(fields["error"]),
	}
	data := fields["data"]
	if data == "" {
		data = fields["message_id"]
	}
	a.Data, _ = json.Marshal(data) // a string
	return a, a.readable()
}
