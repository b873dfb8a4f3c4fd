package main

import (
	"encoding/json"
	"strings"
	"testing"

	"infra/runtime"
)

func jsonText(events []runtime.Event) string {
	var b strings.Builder
	r := newJSON(&b)
	for _, e := range events {
		r.Read(e)
	}
	r.Close()
	return b.String()
}

func TestJSON(t *testing.T) {
	golden(t, "json-ok.txt", jsonText(okRun()))
	golden(t, "json-failed.txt", jsonText(failedRun()))
	golden(t, "json-dry.txt", jsonText(dryRun()))
	golden(t, "json-parts.txt", jsonText(partsRun()))
}

func TestJSONLines(t *testing.T) {
	events := okRun()
	for i, line := range strings.Split(strings.TrimSuffix(jsonText(events), "\n"), "\n") {
		var e struct {
			Schema      int
			Time, Event string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if e.Schema != 1 || e.Time == "" || e.Event == "" || e.Event == "op_output" {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

// A secret that reads like a field's name must not break the schema, and one
// in a result or an argument must not show.
func TestJSONScrubsValuesOnly(t *testing.T) {
	secret := runtime.NewSecret("odd", "status")
	e := runtime.Event{Kind: runtime.StepEnded, Status: runtime.OK, Text: "the " + secret.Reveal(),
		Result: []byte(`{"status":["status",1.50]}`)}
	got := jsonText([]runtime.Event{e})
	want := `"status":"ok","took_ms":0,"text":"the ‹secret odd›","result":{"‹secret odd›":["‹secret odd›",1.50]}}`
	if !strings.Contains(got, want) {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
