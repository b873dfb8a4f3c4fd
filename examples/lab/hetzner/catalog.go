package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What Hetzner sells, as far as the lab buys it: the JSON that the API has.
type location struct {
	ID          int64   `json:"id"`
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Country     string  `json:"country"`
	City        string  `json:"city"`
	Latitude    float64 `json:"latitude"`
	Longitude   float64 `json:"longitude"`
	NetworkZone string  `json:"network_zone"`
}

var locations = []location{
	{1, "fsn1", "Falkenstein DC Park 1", "DE", "Falkenstein", 50.47612, 12.370071, "eu-central"},
	{2, "nbg1", "Nuremberg DC Park 1", "DE", "Nuremberg", 49.452102, 11.076665, "eu-central"},
	{3, "hel1", "Helsinki DC Park 1", "FI", "Helsinki", 60.169855, 24.938379, "eu-central"},
}

type amount struct {
	Net   string `json:"net"`
	Gross string `json:"gross"`
}

type price struct {
	Location          string `json:"location"`
	Hourly            amount `json:"price_hourly"`
	Monthly           amount `json:"price_monthly"`
	IncludedTraffic   int64  `json:"included_traffic"`
	PerTerabyteBeyond amount `json:"price_per_tb_traffic"`
}

type availability struct {
	ID          int64   `json:"id"`
	Name        string  `json:"name"`
	Recommended bool    `json:"recommended"`
	Available   bool    `json:"available"`
	Deprecation *string `json:"deprecation"`
}

type serverType struct {
	ID              int64          `json:"id"`
	Name            string         `json:"name"`
	Description     string         `json:"description"`
	Category        string         `json:"category"`
	Cores           int            `json:"cores"`
	Memory          float64        `json:"memory"`
	Disk            int            `json:"disk"`
	StorageType     string         `json:"storage_type"`
	CPUType         string         `json:"cpu_type"`
	Architecture    string         `json:"architecture"`
	IncludedTraffic int64          `json:"included_traffic"`
	Deprecated      bool           `json:"deprecated"`
	Deprecation     *string        `json:"deprecation"`
	Prices          []price        `json:"prices"`
	Locations       []availability `json:"locations"`
}

var serverTypes = []serverType{
	newType(22, "cx22", "x86", 2, 4, 40, 3.79),
	newType(23, "cx23", "x86", 2, 4, 40, 3.49),
	newType(53, "cx53", "x86", 16, 32, 320, 17.49),
	newType(45, "cax11", "arm", 2, 4, 40, 3.79),
}

func newType(id int64, name, architecture string, cores int, memory float64, disk int, monthly float64) serverType {
	t := serverType{
		ID: id, Name: name, Description: strings.ToUpper(name), Category: "Cost-Optimized", Cores: cores, Memory: memory, Disk: disk,
		StorageType: "local", CPUType: "shared", Architecture: architecture,
	}
	euros := func(net float64) amount { return amount{fmt.Sprintf("%.4f", net), fmt.Sprintf("%.4f", net*1.19)} }
	for _, l := range locations {
		t.Prices = append(t.Prices, price{l.Name, euros(monthly / 624), euros(monthly), 20 << 40, euros(1)})
		t.Locations = append(t.Locations, availability{ID: l.ID, Name: l.Name, Recommended: true, Available: true})
	}
	return t
}

type image struct {
	ID           int64             `json:"id"`
	Status       string            `json:"status"`
	Type         string            `json:"type"`
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	ImageSize    *float64          `json:"image_size"`
	DiskSize     float64           `json:"disk_size"`
	Created      string            `json:"created"`
	CreatedFrom  *struct{}         `json:"created_from"`
	BoundTo      *int64            `json:"bound_to"`
	OSFlavor     string            `json:"os_flavor"`
	OSVersion    string            `json:"os_version"`
	Architecture string            `json:"architecture"`
	RapidDeploy  bool              `json:"rapid_deploy"`
	Protection   map[string]bool   `json:"protection"`
	Deprecated   *string           `json:"deprecated"`
	Deleted      *string           `json:"deleted"`
	Labels       map[string]string `json:"labels"`
}

var images = []image{
	newImage(114690387, "debian", "12", "x86"),
	newImage(114690389, "debian", "12", "arm"),
	newImage(310557660, "debian", "13", "x86"),
	newImage(161547269, "ubuntu", "24.04", "x86"),
}

func newImage(id int64, flavor, version, architecture string) image {
	return image{
		ID: id, Status: "available", Type: "system", Name: flavor + "-" + version, Description: flavor + " " + version, DiskSize: 5,
		Created: "2025-01-01T00:00:00+00:00", OSFlavor: flavor, OSVersion: version, Architecture: architecture, RapidDeploy: true,
		Protection: map[string]bool{"delete": false}, Labels: map[string]string{},
	}
}

// An idOrName is how requests name what the catalog has.
type idOrName struct {
	id   int64
	name string
}

func (x *idOrName) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &x.id) == nil {
		return nil
	}
	return json.Unmarshal(text, &x.name)
}

func (x idOrName) is(id int64, name string) bool {
	return x.id != 0 && x.id == id || x.name != "" && (x.name == name || x.name == fmt.Sprint(id))
}

func typeOf(x idOrName) (serverType, bool) {
	for _, t := range serverTypes {
		if x.is(t.ID, t.Name) {
			return t, true
		}
	}
	return serverType{}, false
}

func imageOf(x idOrName, architecture string) (image, bool) {
	for _, i := range images {
		if x.is(i.ID, i.Name) && i.Architecture == architecture {
			return i, true
		}
	}
	return image{}, false
}

func locationOf(x idOrName) (location, bool) {
	for _, l := range locations {
		if x.is(l.ID, l.Name) {
			return l, true
		}
	}
	return location{}, false
}
