//! Where a directive may stand, and when a change of it counts.

/// Where a directive may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Main server only: there is one broker and one client.
    Global,
    /// Main server or virtual host.
    Server,
    /// Also in Location, but in no section that is found by file name: it decides as whom files are looked for.
    Identity,
    /// In any section of the configuration, but in no access file: it is the administrator's to say.
    Section,
    /// Anywhere: it only shapes an answer.
    Answer,
}

impl Scope {
    /// Why what may stand there cannot stand in `place`.
    pub(super) fn refuse(self, place: &Place) -> Option<String> {
        if place.limited {
            return Some(
                "cannot stand in <Limit>: who a visitor is does not depend on the method".to_owned(),
            );
        }
        match (self, place.section) {
            (Self::Answer, _) => None,
            (Self::Section, Some(Section::Htaccess)) => {
                Some("cannot stand in an access file, which the authors of the pages may write".to_owned())
            }
            (Self::Identity, Some(section)) if section > Section::Location => Some(format!(
                "cannot stand in {}: it decides as whom files are looked for, so it has to be known before their names are; \
                 put it into <Location>, a virtual host or the main server",
                section.words()
            )),
            (Self::Global | Self::Server, Some(section)) => Some(format!(
                "cannot stand in {}: put it into {}",
                section.words(),
                if self == Self::Global { "the main server" } else { "the main server or a virtual host" }
            )),
            (Self::Global, None) if place.virtual_host => Some(
                "cannot stand in <VirtualHost>: all servers share one broker and one AFS client; put it into the main server"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// When a change of a directive counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// After a graceful restart.
    Graceful,
    /// After a stop and a start: the nanny or what hangs on it keeps the old value until then.
    FullRestart,
}

/// Sections, from lax to strict; of nested ones the strictest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Location, LocationMatch.
    Location,
    /// Proxy, ProxyMatch.
    Proxy,
    /// Directory, DirectoryMatch.
    Directory,
    /// Files, FilesMatch.
    Files,
    /// If, ElseIf, Else.
    If,
    /// An access file.
    Htaccess,
}

impl Section {
    /// From the name as httpd keeps it, such as `<Location`. Others (VirtualHost, IfModule) are not of interest.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        /// All names.
        const NAMES: &[(&str, Section)] = &[
            ("<Location", Section::Location),
            ("<LocationMatch", Section::Location),
            ("<Proxy", Section::Proxy),
            ("<ProxyMatch", Section::Proxy),
            ("<Directory", Section::Directory),
            ("<DirectoryMatch", Section::Directory),
            ("<Files", Section::Files),
            ("<FilesMatch", Section::Files),
            ("<If", Section::If),
            ("<ElseIf", Section::If),
            ("<Else", Section::If),
        ];
        NAMES.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(name)).map(|(_, s)| *s)
    }

    /// As an administrator calls it.
    fn words(self) -> &'static str {
        match self {
            Self::Location => "<Location>",
            Self::Proxy => "<Proxy>",
            Self::Directory => "<Directory>",
            Self::Files => "<Files>",
            Self::If => "<If>",
            Self::Htaccess => "an access file (.htaccess)",
        }
    }
}

/// Where a directive was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In a virtual host.
    pub virtual_host: bool,
    /// In a section.
    pub section: Option<Section>,
    /// In Limit or LimitExcept.
    pub limited: bool,
}
