# The two commands; scripts/setup.sh installs what the build lacks before either.

help:
	@echo "make demo    build certify and certify a small trained network (leaves report.html, report.json)"
	@echo "make test    run all tests"

demo:
	@sh scripts/setup.sh sh scripts/demo.sh

test:
	@sh scripts/setup.sh sh scripts/test.sh

.PHONY: help demo test
