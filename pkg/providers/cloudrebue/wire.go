package cloudrebue

import (
	"encoding/json"

	"github.com/tuma-sms/tuma/pkg/providers/httpapi"
)

// What is named for every message of a request is written and read without
// reflection: it was a fifth of the CPU that a message costs.

type item struct {
	Sender     string `json:"sender"`
	Message    string `json:"message"`
	Phone      string `json:"phone"`
	Correlator string `json:"correlator"`
	LinkID     string `json:"link_id,omitempty"`
	Endpoint   string `json:"endpoint,omitempty"`
}

// write is the body of a request: an object for one message, else an array.
func write(items []item) []byte {
	size := 0
	for i := range items {
		size += 96 + len(items[i].Message) + len(items[i].Correlator) + len(items[i].Endpoint)
	}
	b := make([]byte, 0, size)
	if len(items) == 1 {
		return items[0].append(b)
	}
	for i := range items {
		if b = append(b, ','); i == 0 {
			b[0] = '['
		}
		b = items[i].append(b)
	}
	return append(b, ']')
}

func (it *item) append(b []byte) []byte {
	b = httpapi.AppendString(append(b, `{"sender":`...), it.Sender)
	b = httpapi.AppendString(append(b, `,"message":`...), it.Message)
	b = httpapi.AppendString(append(b, `,"phone":`...), it.Phone)
	b = httpapi.AppendString(append(b, `,"correlator":`...), it.Correlator)
	if it.LinkID != "" {
		b = httpapi.AppendString(append(b, `,"link_id":`...), it.LinkID)
	}
	if it.Endpoint != "" {
		b = httpapi.AppendString(append(b, `,"endpoint":`...), it.Endpoint)
	}
	return append(b, '}')
}

// answer is one element of an answer, or the whole of it when the request as
// such is refused. Message, in data, repeats the text and is not read.
type answer struct {
	Status  httpapi.Truth `json:"status"`
	Message httpapi.Words `json:"message"`
	Data    *data         `json:"data"`
}

// nameless reports whether an answer says of no message in particular that it is
// the one.
func (a *answer) nameless() bool {
	return a.Data == nil || a.Data.Correlator == "" && a.Data.Phone == ""
}

// empty reports whether it has no data: PHP writes none as [].
func (a *answer) empty() bool { return a.Data == nil || *a.Data == data{} }

type data struct {
	Correlator httpapi.Scalar `json:"correlator"`
	UniqueID   httpapi.Scalar `json:"uniqueId"`
	Phone      httpapi.Scalar `json:"phone"`
	Operator   httpapi.Scalar `json:"operator"`
	Units      httpapi.Scalar `json:"sms_units"`
}

// UnmarshalJSON implements json.Unmarshaler: an object, or an array of one.
func (d *data) UnmarshalJSON(b []byte) error {
	type plain data
	var list httpapi.List[plain]
	*d = data{}
	if err := json.Unmarshal(b, &list); err == nil && len(list) == 1 {
		*d = data(list[0])
	}
	return nil
}

// readArray reads an answer that is an array of them; nil: it is not, or not all
// of it can be read.
func readArray(body []byte) []answer {
	if answers, ok := scan(body); ok {
		return answers
	}
	var answers []answer
	if json.Unmarshal(body, &answers) != nil {
		return nil
	}
	return answers
}

func scan(body []byte) (answers []answer, ok bool) {
	s := httpapi.NewScan(body)
	answers = make([]answer, 0, len(body)/96+1)
	all := make([]data, 0, len(body)/96+1)
	s.Array(func() {
		var a answer
		s.Object([]string{"status", "message", "data"}, func(key int) {
			switch {
			case key == 1:
				a.Message = s.Words()
			case s.Null():
			case key == 2:
				all = append(all, data{})
				a.Data = &all[len(all)-1]
				a.Data.scan(s)
			default:
				a.Status = httpapi.Truth{True: s.Bool(), Known: true}
			}
		})
		answers = append(answers, a)
	})
	return answers, s.OK()
}

func (d *data) scan(s *httpapi.Scan) {
	s.Object([]string{"correlator", "uniqueId", "phone", "operator", "sms_units"}, func(key int) {
		switch v := s.Scalar(); key {
		case 0:
			d.Correlator = v
		case 1:
			d.UniqueID = v
		case 2:
			d.Phone = v
		case 3:
			d.Operator = v
		default:
			d.Units = v
		}
	})
}
