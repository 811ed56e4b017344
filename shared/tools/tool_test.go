package tools

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestBind(t *testing.T) {
	type target struct {
		Steps int
		Size  struct{ Width json.Number }
	}
	for arguments, want := range map[string]string{
		"":                                 "",
		`{}`:                               "",
		`{"Steps":5,"Size":{"Width":9e9}}`: "",
		`{"other":[1]}`:                    "",
		`{"Steps":5.0}`:                    "the arguments do not fit: Steps: number 5.0 cannot be used",
		`{"Size":{"Width":[]}}`:            "the arguments do not fit: Size.Width: array cannot be used",
		`{"Size":{"Width":"nine"}}`:        "the arguments do not fit",
	} {
		var bound target
		err := (&Call{Arguments: json.RawMessage(arguments)}).Bind(&bound)
		told, ok := errors.AsType[*Error](err)
		if want == "" && err != nil || want != "" && (!ok || told.Message != want) {
			t.Errorf("%s: %v, want %q", arguments, err, want)
		}
	}
}
