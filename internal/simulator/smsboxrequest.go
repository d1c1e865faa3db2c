package simulator

import (
	"encoding/json"
	"encoding/xml"
	"strconv"
	"strings"
)

// smsBoxRequest is the body of send_sms. encoding and recipient_name come as
// strings or numbers in the document's samples.
type smsBoxRequest struct {
	SourceAddr   *string         `json:"source_addr"`
	ScheduleTime string          `json:"schedule_time"`
	Encoding     json.RawMessage `json:"encoding"`
	Message      *string         `json:"message"`
	Recipients   []smsBoxTo      `json:"recipients"`
}

type smsBoxTo struct {
	Name json.RawMessage `json:"recipient_name"`
	Dest *string         `json:"dest_addr"`
}

type smsBoxXML struct {
	XMLName      xml.Name `xml:"sms"`
	SourceAddr   *string  `xml:"source_addr"`
	ScheduleTime string   `xml:"schedule_time"`
	Encoding     string   `xml:"encoding"`
	Message      *string  `xml:"message"`
	Recipients   *struct {
		List []struct {
			Name string  `xml:"recipient_name"`
			Dest *string `xml:"dest_addr"`
		} `xml:"recipient"`
	} `xml:"recipients"`
}

func smsBoxParse(c *call) (req smsBoxRequest, code int) {
	switch contentType(c.req) {
	case "application/json":
		if strictJSON(c.body, &req) != nil {
			return req, 113
		}
	case "application/xml":
		var x smsBoxXML
		if xml.Unmarshal(c.body, &x) != nil {
			return req, 113
		}
		req.SourceAddr, req.ScheduleTime, req.Message = x.SourceAddr, x.ScheduleTime, x.Message
		req.Encoding = json.RawMessage(strconv.Quote(x.Encoding))
		if x.Encoding == "" {
			req.Encoding = json.RawMessage("0") // the XML sample has none
		}
		if x.Recipients == nil {
			return req, 119
		}
		for _, r := range x.Recipients.List {
			name, err := json.Marshal(r.Name)
			if err != nil {
				return req, 113
			}
			req.Recipients = append(req.Recipients, smsBoxTo{Name: name, Dest: r.Dest})
		}
	default:
		return req, 113
	}
	return req, 0
}

func (r *smsBoxRequest) check() int {
	switch {
	case r.SourceAddr == nil || r.Message == nil:
		return 104
	case !smsBoxSender(*r.SourceAddr):
		return 111
	case *r.Message == "":
		return 109
	case len(r.Encoding) == 0:
		return 118
	case string(r.Encoding) != "0" && string(r.Encoding) != `"0"`:
		return 118 // "Other encoding types are currently not supported."
	case len(r.Recipients) == 0:
		return 119
	case len(r.Recipients) > smsBoxMax:
		return 114
	}
	if _, ok := gsm7(*r.Message); !ok {
		return 110
	}
	return 0
}

// smsBoxSender wants 11 characters of letters, digits, space, hyphen and dot,
// or a mobile number without plus.
func smsBoxSender(s string) bool {
	if _, ok := digits(s); ok && s[0] != '+' {
		return true
	}
	for _, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != ' ' && c != '-' && c != '.' {
			return false
		}
	}
	return len(s) <= 11 && strings.TrimSpace(s) != "" && s != smsBoxInactive
}

// addSMSBox takes one recipient; one bad number fails the whole request.
func (b *batch) addSMSBox(req smsBoxRequest, to smsBoxTo) int {
	if to.Dest == nil || *to.Dest == "" {
		return 115
	}
	n, ok := digits(*to.Dest)
	if !ok || magic(n).refuse != "" {
		return 101
	}
	name, code := smsBoxToName(to)
	if code != 0 {
		return code
	}
	if _, ok := gsm7(name); !ok {
		return 110
	}
	b.recipients = append(b.recipients, recipient{number: n, from: *req.SourceAddr,
		text: strings.ReplaceAll(*req.Message, smsBoxNameMarker, name)})
	return 0
}

// smsBoxToName reads a recipient_name, a string or a number.
func smsBoxToName(to smsBoxTo) (name string, code int) {
	name = string(to.Name)
	switch {
	case name == "" || name == "null" || name[0] == '{' || name[0] == '[':
		return "", 104
	case name[0] == '"' && json.Unmarshal(to.Name, &name) != nil:
		return "", 113
	}
	return name, 0
}
