package fleet

// nixConf makes nix work without the network and builds the Macs' systems
// here: their derivations need no more than a shell.
const nixConf = `experimental-features = nix-command flakes
substituters =
sandbox = false
build-users-group =
extra-platforms = aarch64-darwin
`

// hostNixConf is a host's: it builds nothing.
const hostNixConf = `experimental-features = nix-command flakes
substituters =
sandbox = false
build-users-group =
`

func (f *Fleet) writeNixConf() error {
	return f.write(0o644, nixConf, "nix", "nix.conf")
}
