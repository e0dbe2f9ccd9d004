# /// script
# dependencies = ["cyclonedx-python-lib[json-validation]>=11,<12", "wheel>=0.45"]
# ///
"""Write into a wheel what is in it: a bill of materials with licences (PEP 770).

    pipx run .ci/sbom.py dist/*.whl

The bill is a CycloneDX file, NAME.dist-info/sboms/exactrnn.cdx.json. It names exactrnn,
the helpers of Cython, which the compiler of the module has put into it, and what pip
installs beside. Equal wheels get equal bills: time and serial number come from the
wheel itself.
"""

import argparse
import email
import re
import subprocess
import sys
import tempfile
import uuid
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

NAME = "exactrnn.cdx.json"
CYTHON = re.compile(rb"_cython_(\d+)_(\d+)_(\d+)\b")
"""What a module that Cython has made calls the version of it."""


def describe(name, version, licence):
    """Return a package of PyPI as a component."""
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=name.lower(), version=version),
        licenses=[LicenseExpression(licence)] if licence else [],
        bom_ref=f"{name}@{version or 'any'}",
    )


def version_of_cython(archive):
    """Return the version of Cython whose helpers are in the compiled module."""
    [module] = [
        n for n in archive.namelist() if re.search(r"/_core\.[^/]*\.(so|pyd)$", n)
    ]
    found = CYTHON.search(archive.read(module))
    if found is None:
        raise SystemExit(f"{module}: expected the version of Cython in it, found none")
    return ".".join(number.decode() for number in found.groups())


def describe_wheel(wheel):
    """Return the bill of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [path] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        facts = email.message_from_bytes(archive.read(path))
        written = datetime(*archive.getinfo(path).date_time, tzinfo=UTC)
        cython = version_of_cython(archive)
    own = describe(facts["Name"], facts["Version"], facts["License-Expression"])
    inside = describe("Cython", cython, "Apache-2.0")
    asked = [r for r in facts.get_all("Requires-Dist", []) if "extra ==" not in r]
    beside = [describe(re.match(r"[\w.-]+", r)[0], None, None) for r in asked]
    bom = Bom(
        components=[inside, *beside],
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, wheel.name),
    )
    bom.metadata.timestamp = written
    bom.metadata.component = own
    bom.metadata.supplier = OrganizationalEntity(name=facts["Author"])
    bom.register_dependency(own, [inside, *beside])
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SystemExit(f"{wheel.name}: the bill of materials is invalid: {error}")
    return f"{text}\n"


def insert(wheel, text):
    """Put the bill into the wheel, and its hash into the wheel's record."""
    with tempfile.TemporaryDirectory() as name:
        tool = (sys.executable, "-m", "wheel")
        subprocess.run([*tool, "unpack", wheel, "-d", name], check=True)
        [tree] = Path(name).iterdir()
        [facts] = tree.glob("*.dist-info")
        (facts / "sboms").mkdir(exist_ok=True)
        (facts / "sboms" / NAME).write_text(text, encoding="utf-8")
        subprocess.run([*tool, "pack", tree, "-d", wheel.parent], check=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = "a wheel, or a folder of wheels"
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL", help=what)
    for path in parser.parse_args().wheels:
        for wheel in sorted(path.glob("*.whl")) if path.is_dir() else [path]:
            insert(wheel, describe_wheel(wheel))


if __name__ == "__main__":
    main()
