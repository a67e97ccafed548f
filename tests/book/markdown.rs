//! The parts of a page in Markdown that the tests compare: anchors, links, code. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// The language behind the fence, as in `sh`; empty if there is none.
    pub(crate) language: String,
    /// The content, without the indentation of the fence.
    pub(crate) text: String,
    /// The number of the fence's line, from 1.
    pub(crate) line: usize,
}

/// A link or an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// What is in the parentheses.
    pub(crate) target: String,
    /// The number of the line, from 1.
    pub(crate) line: usize,
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// The anchors of the headings.
    pub(crate) anchors: BTreeSet<String>,
    /// Links and images outside of code.
    pub(crate) links: Vec<Link>,
    /// Blocks of code.
    pub(crate) code: Vec<Code>,
    /// Code within lines, with the number of the line.
    pub(crate) spans: Vec<(usize, String)>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut counts = BTreeMap::new();
        let mut block: Option<(usize, Code)> = None;
        // Links and code may be wrapped, but not over an empty line.
        let mut paragraph = (1, String::new());
        for (number, line) in text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
        {
            let trimmed = line.trim_start();
            if let Some((indent, code)) = &mut block {
                if trimmed == "```" {
                    page.code.extend(block.take().map(|(_, code)| code));
                } else {
                    code.text.push_str(line.get(*indent..).unwrap_or(trimmed));
                    code.text.push('\n');
                }
                continue;
            }
            let fence = trimmed.strip_prefix("```");
            if fence.is_some() || line.is_empty() || line.starts_with(['#', '|']) {
                page.read_inline(&paragraph.1, paragraph.0);
                paragraph = (number, String::new());
            }
            if let Some(language) = fence {
                let code = Code {
                    language: language.to_owned(),
                    text: String::new(),
                    line: number,
                };
                block = Some((line.len() - trimmed.len(), code));
                continue;
            }
            if let Some(heading) = heading(line) {
                let anchor = anchor(heading);
                let count = counts.entry(anchor.clone()).or_insert(0_u32);
                page.anchors.insert(match *count {
                    0 => anchor,
                    count => format!("{anchor}-{count}"),
                });
                *count += 1;
            }
            paragraph.1.push_str(line);
            paragraph.1.push('\n');
        }
        page.read_inline(&paragraph.1, paragraph.0);
        page
    }

    /// Reads the links and the code of a paragraph that begins in a line.
    fn read_inline(&mut self, text: &str, first: usize) {
        let line_of = |at: usize| first + text[..at].matches('\n').count();
        let mut prose = String::new();
        let mut rest = 0;
        while let Some(start) = text[rest..].find('`').map(|at| rest + at) {
            let ticks = text[start..]
                .chars()
                .take_while(|char| *char == '`')
                .count();
            let fence = "`".repeat(ticks);
            let inner = start + ticks;
            let Some(end) = text[inner..].find(&fence).map(|at| inner + at) else {
                break;
            };
            let code = text[inner..end].split_whitespace().collect::<Vec<_>>();
            self.spans.push((line_of(start), code.join(" ")));
            prose.push_str(&text[rest..start]);
            // Code has no links; its place keeps the numbers of lines.
            prose.extend(text[start..end + ticks].chars().map(|char| match char {
                '\n' => '\n',
                _ => '_',
            }));
            rest = end + ticks;
        }
        prose.push_str(&text[rest..]);
        for (at, _) in prose.match_indices("](") {
            let target = &prose[at + 2..];
            if let Some(end) = target.find(')') {
                self.links.push(Link {
                    target: target[..end].to_owned(),
                    line: first + prose[..at].matches('\n').count(),
                });
            }
        }
    }
}

/// Returns the text of a heading.
fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    if (1..=6).contains(&level) {
        text.strip_prefix(' ')
    } else {
        None
    }
}

/// Returns the anchor of a heading, as the forge and mdBook make it.
fn anchor(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    lower
        .chars()
        .filter_map(|char| match char {
            ' ' => Some('-'),
            '-' | '_' => Some(char),
            char if char.is_alphanumeric() => Some(char),
            _ => None,
        })
        .collect()
}

#[test]
fn page_has_anchors_links_and_code() {
    let page = Page::parse(
        "# A `b`, c_d\n\ntext [wrapped\nlink](x.md#y) and `code\n[no](link)`\n\n## A\n## A\n\n  ```sh\n  ls\n    -l\n  ```\n\
         | [a](b) | `c` |\n",
    );
    let anchors: Vec<&str> = page.anchors.iter().map(String::as_str).collect();
    assert_eq!(anchors, ["a", "a-1", "a-b-c_d"]);
    let links: Vec<_> = page
        .links
        .iter()
        .map(|link| (link.target.as_str(), link.line))
        .collect();
    assert_eq!(links, [("x.md#y", 4), ("b", 14)]);
    assert_eq!(
        page.code,
        [Code {
            language: "sh".to_owned(),
            text: "ls\n  -l\n".to_owned(),
            line: 10
        }]
    );
    let spans: Vec<_> = page.spans.iter().map(|(_, code)| code.as_str()).collect();
    assert_eq!(spans, ["b", "code [no](link)", "c"]);
}
