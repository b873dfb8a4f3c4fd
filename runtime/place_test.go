package runtime

import (
	"testing"

	"go.starlark.net/starlark"
)

func TestHostAtAPlace(t *testing.T) {
	u := Unknown{Op: "terraform.apply of hcloud_server.vps"}
	declared := &Host{Name: "vps", SSH: "root@vps"}
	for _, tt := range []struct {
		place          Place
		address, shown string
	}{
		{Place{Address: "10.0.0.1", Trust: TrustKnown}, `"10.0.0.1"`, "at 10.0.0.1"},
		{Place{Address: "10.0.0.1", Trust: TrustFirstUse}, `"10.0.0.1"`, "at 10.0.0.1, trust: first use"},
		{Place{Address: "10.0.0.1", Trust: TrustFirstUse, Key: "k"}, `"10.0.0.1"`, "at 10.0.0.1, trust: its key is pinned"},
		{Place{Address: u.String(), Pending: &u, Trust: TrustFirstUse}, u.String(), "at " + u.String() + ", trust: first use"},
		{Place{Address: "10.0.0.1", Key: u.String(), Pending: &u}, `"10.0.0.1"`, "at 10.0.0.1, with a key or an instance " + u.String() + ", trust: its key is pinned"},
	} {
		h := declared.At(tt.place)
		address, err := h.Attr("address")
		if err != nil || address.String() != tt.address || h.Place.String() != tt.shown {
			t.Errorf("%s, %q, %v", address, h.Place, err)
		}
		if same, err := starlark.Equal(h, declared); !same || err != nil {
			t.Errorf("it is another host: %v", err)
		}
	}
	if address, err := declared.Attr("address"); address != starlark.None || err != nil || declared.Place != nil {
		t.Error(address, err)
	}
}
