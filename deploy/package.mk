# SPDX-License-Identifier: Apache-2.0
# What is made of the binary for others to install. Part of the Makefile.
VERSION   := 0.1.0
PACKAGES  := $(O)/packages
NAMED     := spanhound-$(VERSION)-$(ARCH)
# The same source makes the same bytes.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)

MAN := $(O)/man/spanhound.1
$(MAN): $(O)/spanhound $(wildcard deploy/man/*)
	$(call msg,MAN,$(@D))
	$(Q)deploy/man/generate $(O)/spanhound $(@D) $(EMULATOR)

# The tree of `make install`. Manual pages and units know where the binary lies.
UNITDIR ?= $(PREFIX)/lib/systemd/system
.PHONY: install
install: $(O)/spanhound $(MAN)
	install -D -m 755 $(O)/spanhound $(DESTDIR)$(PREFIX)/bin/spanhound
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/man/man1 \
	        $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(UNITDIR)
	$(EMULATOR) $(O)/spanhound completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/spanhound
	install -m 644 $(O)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(O)/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	sed 's|/usr/bin/|$(PREFIX)/bin/|' deploy/systemd/spanhound.service >$(DESTDIR)$(UNITDIR)/spanhound.service

# Debian package: needs dpkg-dev for the dependencies on shared libraries.
.PHONY: deb
deb: $(PACKAGES)/spanhound_$(VERSION)_$(ARCH).deb
$(PACKAGES)/spanhound_$(VERSION)_$(ARCH).deb: $(O)/spanhound $(MAN) $(wildcard deploy/debian/*) deploy/config.yaml deploy/systemd/spanhound.service
	$(call msg,DEB,$@)
	@mkdir -p $(@D) && rm -rf $(O)/deb
	$(Q)$(MAKE) --no-print-directory -s install DESTDIR=$(O)/deb/root PREFIX=/usr UNITDIR=/lib/systemd/system >/dev/null
	$(Q)deploy/debian/build $(O)/deb $(VERSION) $(ARCH) $(STRIP) $@

# Relocatable: libraries beside it are found from where the binary lies. Of the system it needs the C library alone.
# The old kind of run path, which holds for the libraries' own libraries, too.
RELOCATABLE := -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/../lib/spanhound'
$(O)/tarball/spanhound: $(O)/spanhound
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $(RELOCATABLE) -o $@ $(APP_OBJ) -Wl,--start-group $(LIBS) -Wl,--end-group $(LDLIBS)
.PHONY: tarball
tarball: $(PACKAGES)/$(NAMED).tar.xz
$(PACKAGES)/$(NAMED).tar.xz: $(O)/tarball/spanhound $(MAN) deploy/config.yaml deploy/libraries deploy/tarball
	$(call msg,TAR,$@)
	@mkdir -p $(@D) && rm -rf $(O)/tarball/$(NAMED)
	$(Q)$(MAKE) --no-print-directory -s install DESTDIR=$(abspath $(O))/tarball/$(NAMED) PREFIX= >/dev/null
	$(Q)EMULATOR=$(EMULATOR) deploy/tarball $(O)/tarball $(NAMED) $(STRIP) $@

# OCI image, from nothing: the binary, its libraries, certificates of authorities. IMAGE= names it.
IMAGE ?= spanhound:$(VERSION)
.PHONY: image
image: $(PACKAGES)/$(NAMED).oci.tar
$(PACKAGES)/$(NAMED).oci.tar: $(O)/spanhound deploy/image deploy/libraries deploy/config.yaml
	$(call msg,IMAGE,$@)
	@mkdir -p $(@D)
	$(Q)EMULATOR=$(EMULATOR) deploy/image $(O)/spanhound $(O)/image $(IMAGE) $(ARCH) $(STRIP) $@
