package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/url"

	"github.com/tuma-sms/tuma/pkg/providers"
)

var (
	errNoForm   = errors.New("httpapi: a callback is no form")
	errRepeated = errors.New("httpapi: a form's field says two things")
)

// maxFields is how many fields of a form are read.
const maxFields = 64

// Form reads a callback that is a form: its body, urlencoded or in parts, whatever
// its Content-Type says; without a body, its query. A field that is there twice
// with two values is an error: one says delivered, the other not.
func Form(cb *providers.Callback) (map[string]string, error) {
	body := Document(cb.Body)
	values := cb.Query
	var err error
	switch {
	case bytes.HasPrefix(body, []byte("--")):
		values, err = parts(body)
	case len(body) > 0:
		values, err = url.ParseQuery(string(body))
	}
	if err != nil || len(values) > maxFields {
		return nil, errNoForm
	}
	fields := make(map[string]string, len(values))
	for name, list := range values {
		for _, v := range list {
			if before, twice := fields[name]; twice && before != v {
				return nil, errRepeated
			}
			fields[name] = v
		}
	}
	return fields, nil
}

// parts reads a form in parts (multipart/form-data), by the boundary in its first
// line. Files are none of its fields.
func parts(body []byte) (url.Values, error) {
	line, _, _ := bytes.Cut(body, []byte("\n"))
	boundary := string(bytes.TrimRight(line[2:], " \t\r"))
	if boundary == "" {
		return nil, errNoForm
	}
	values := url.Values{}
	for r := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return values, nil
		}
		if err != nil || len(values) > maxFields {
			return nil, errNoForm
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return nil, errNoForm
		}
		if name := part.FormName(); name != "" && part.FileName() == "" {
			values.Add(name, string(text))
		}
	}
}
