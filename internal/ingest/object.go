package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// object is a body's members, by names that are told apart by case.
type object map[string]json.RawMessage

var errObject = errors.New("the body is not the object that is wanted")

// readObject reads a body of a few short members, each given once; none is an empty
// object. encoding/json alone would take the last of two, any case, and what is
// behind the object.
func readObject(w http.ResponseWriter, r *http.Request) (object, error) {
	data, err := readBody(w, r)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	o, err := parseObject(data)
	if errors.Is(err, errObject) {
		return nil, problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), err.Error())
	}
	return o, err
}

func parseObject(data []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') || !utf8.Valid(data) {
		return nil, errObject
	}
	o := object{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil, errObject
		}
		if _, twice := o[name]; twice {
			return nil, fieldProblem(name, "is given twice")
		}
		o[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errObject
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errObject
	}
	return o, nil
}

// into reads a member; nil: there is none of this name.
func (o object) into(name string, v any) error {
	if v == nil {
		return fieldProblem(name, "is unknown")
	}
	if value := o[name]; string(value) == "null" || json.Unmarshal(value, v) != nil {
		return fieldProblem(name, "has the wrong type")
	}
	return nil
}

func fieldProblem(name, detail string) *Problem {
	name = name[:min(len(name), 100)]
	p := problem(http.StatusBadRequest, string(envelope.InvalidEnvelope), name+": "+detail)
	p.Field = name
	return p
}
