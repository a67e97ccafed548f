# Turns the output of `cargo metadata` into a CycloneDX SBOM. $date: of the commit; $checksums: by NAME@VERSION.

# The identifier of a package in the SBOM: its package URL, or one of its own for a crate of the workspace.
def reference: if .source then "pkg:cargo/\(.name)@\(.version)" else "flexlvm:\(.name)@\(.version)" end;

(.packages | map({key: .id, value: .}) | from_entries) as $packages
# Crates that are linked: neither for tests nor for build scripts.
| (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $linked
| [.packages[] | select(.source == null and (.name | IN("operator", "driver", "kubectl-flexlvm")))] as $programs
| ($programs | map(.id)) as $roots
| ({all: $roots, new: $roots}
    | until(.new == [];
        .all as $all
        | ([.new[] | $linked[.][]] | unique) - $all
        | {all: ($all + .), new: .})
    | .all | map($packages[.]) | sort_by(.name, .version)) as $components
| {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      timestamp: $date,
      component: {
        type: "application",
        "bom-ref": "flexlvm",
        name: "flexlvm",
        version: $programs[0].version,
        licenses: [{expression: $programs[0].license}]
      }
    },
    components: [$components[] | . as $package | {
      type: (if IN($programs[]) then "application" else "library" end),
      "bom-ref": reference,
      name,
      version,
      # Some crates have the former syntax.
      licenses: [{expression: (.license // "NOASSERTION" | gsub(" */ *"; " OR "))}]
    }
    + if .source then {
        purl: reference,
        hashes: [{alg: "SHA-256", content: $checksums["\(.name)@\(.version)"]}]
      } else {} end],
    dependencies:
      ([{ref: "flexlvm", dependsOn: [$programs[] | reference]}]
      + [$components[] | {ref: reference, dependsOn: [$linked[.id][] | $packages[.] | reference] | sort}])
  }
