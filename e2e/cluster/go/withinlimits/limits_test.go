package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

const everything = 1<<41 - 1

func TestRewriteTakesOutWhatIsWithheld(t *testing.T) {
	asked := `{"ociVersion":"1.0.2","process":{"oomScoreAdj":-999,
		"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"],"ambient":["CAP_SYS_RESOURCE"]},
		"rlimits":[{"type":"RLIMIT_NOFILE","hard":18446744073709551615,"soft":1},{"type":"RLIMIT_MEMLOCK","hard":1,"soft":1}]}}`
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(asked), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(file, limits{bounding: everything &^ (1 << capSysResource), oomScore: 5}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Process struct {
			OOMScoreAdj  int
			Capabilities map[string][]string
			Rlimits      []struct {
				Type       string
				Hard, Soft uint64
			}
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	most, _ := hardLimits("RLIMIT_NOFILE")
	limit := got.Process.Rlimits
	if len(limit) != 1 || limit[0].Type != "RLIMIT_NOFILE" || limit[0].Hard != most || limit[0].Soft != 1 {
		t.Errorf("rlimits = %+v, want RLIMIT_NOFILE alone, cut to %d", limit, most)
	}
	want := map[string][]string{"bounding": {"CAP_CHOWN"}, "ambient": {}}
	if !reflect.DeepEqual(got.Process.Capabilities, want) {
		t.Errorf("capabilities = %v, want %v", got.Process.Capabilities, want)
	}
	if got.Process.OOMScoreAdj != 5 {
		t.Errorf("oomScoreAdj = %d, want 5", got.Process.OOMScoreAdj)
	}
}

func TestSpecifications(t *testing.T) {
	for _, c := range []struct{ arguments, want []string }{
		{[]string{"--root", "/r", "create", "--bundle", "/b", "id"}, []string{"/b/config.json"}},
		{[]string{"create", "-b=/b", "id"}, []string{"/b/config.json"}},
		{[]string{"exec", "--process", "/p/1", "--detach", "id"}, []string{"/p/1"}},
		{[]string{"kill", "id", "9"}, nil},
	} {
		if got := specifications(c.arguments); !reflect.DeepEqual(got, c.want) {
			t.Errorf("specifications(%v) = %v, want %v", c.arguments, got, c.want)
		}
	}
}

func TestNothingIsWithheldFromAFullSet(t *testing.T) {
	if (limits{bounding: everything}).withheld() {
		t.Error("a full bounding set counts as withheld")
	}
	if !(limits{bounding: everything &^ (1 << 24)}).withheld() {
		t.Error("a missing capability goes unnoticed")
	}
}
