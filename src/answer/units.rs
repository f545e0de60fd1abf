//! Units of measurement and currencies: their names, and conversion within one dimension.

use super::math::{Expr, Number};

/// A unit: powers of the base dimensions, and a factor to the base unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// Exponents of length, mass, time, current, temperature, amount, money and angle.
    pub dimension: [i8; 8],
    /// Decimal literals with their powers; their product is the factor to the base unit.
    pub factor: Vec<(&'static str, i32)>,
}

/// Maximum length of a unit, in bytes.
const MAX_BYTES: usize = 48;

const LENGTH: [i8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
const AREA: [i8; 8] = [2, 0, 0, 0, 0, 0, 0, 0];
const VOLUME: [i8; 8] = [3, 0, 0, 0, 0, 0, 0, 0];
const MASS: [i8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
const TIME: [i8; 8] = [0, 0, 1, 0, 0, 0, 0, 0];
const SPEED: [i8; 8] = [1, 0, -1, 0, 0, 0, 0, 0];
const CURRENT: [i8; 8] = [0, 0, 0, 1, 0, 0, 0, 0];
const FORCE: [i8; 8] = [1, 1, -2, 0, 0, 0, 0, 0];
const ENERGY: [i8; 8] = [2, 1, -2, 0, 0, 0, 0, 0];
const POWER: [i8; 8] = [2, 1, -3, 0, 0, 0, 0, 0];
const PRESSURE: [i8; 8] = [-1, 1, -2, 0, 0, 0, 0, 0];
const FREQUENCY: [i8; 8] = [0, 0, -1, 0, 0, 0, 0, 0];
const CHARGE: [i8; 8] = [0, 0, 1, 1, 0, 0, 0, 0];
const VOLTAGE: [i8; 8] = [2, 1, -3, -1, 0, 0, 0, 0];
const RESISTANCE: [i8; 8] = [2, 1, -3, -2, 0, 0, 0, 0];
const AMOUNT: [i8; 8] = [0, 0, 0, 0, 0, 1, 0, 0];
const ANGLE: [i8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];
/// Temperatures and currencies do not convert: each has its own dimension.
const CELSIUS: [i8; 8] = [0, 0, 0, 0, 1, 0, 0, 0];
const FAHRENHEIT: [i8; 8] = [0, 0, 0, 0, 2, 0, 0, 0];
const KELVIN: [i8; 8] = [0, 0, 0, 0, 3, 0, 0, 0];
const DOLLAR: [i8; 8] = [0, 0, 0, 0, 0, 0, 1, 0];
const EURO: [i8; 8] = [0, 0, 0, 0, 0, 0, 2, 0];
const POUND_STERLING: [i8; 8] = [0, 0, 0, 0, 0, 0, 3, 0];
const YUAN: [i8; 8] = [0, 0, 0, 0, 0, 0, 4, 0];
const RUPEE: [i8; 8] = [0, 0, 0, 0, 0, 0, 5, 0];

/// Unit symbols (case-sensitive), with dimension and factor to the base unit.
const SYMBOLS: &[(&str, [i8; 8], &str)] = &[
    ("m", LENGTH, "1"),
    ("km", LENGTH, "1e3"),
    ("dm", LENGTH, "0.1"),
    ("cm", LENGTH, "0.01"),
    ("mm", LENGTH, "0.001"),
    ("\\mum", LENGTH, "1e-6"),
    ("um", LENGTH, "1e-6"),
    ("nm", LENGTH, "1e-9"),
    ("in", LENGTH, "0.0254"),
    ("ft", LENGTH, "0.3048"),
    ("yd", LENGTH, "0.9144"),
    ("mi", LENGTH, "1609.344"),
    ("ha", AREA, "1e4"),
    ("L", VOLUME, "0.001"),
    ("l", VOLUME, "0.001"),
    ("mL", VOLUME, "1e-6"),
    ("ml", VOLUME, "1e-6"),
    ("cc", VOLUME, "1e-6"),
    ("kg", MASS, "1"),
    ("g", MASS, "0.001"),
    ("mg", MASS, "1e-6"),
    ("t", MASS, "1e3"),
    ("lb", MASS, "0.45359237"),
    ("lbs", MASS, "0.45359237"),
    ("oz", MASS, "0.028349523125"),
    ("s", TIME, "1"),
    ("sec", TIME, "1"),
    ("ms", TIME, "0.001"),
    ("min", TIME, "60"),
    ("mins", TIME, "60"),
    ("h", TIME, "3600"),
    ("hr", TIME, "3600"),
    ("hrs", TIME, "3600"),
    ("mph", SPEED, "0.44704"),
    ("kph", SPEED, "0.277777777777777778"),
    ("A", CURRENT, "1"),
    ("mA", CURRENT, "0.001"),
    ("N", FORCE, "1"),
    ("kN", FORCE, "1e3"),
    ("J", ENERGY, "1"),
    ("kJ", ENERGY, "1e3"),
    ("eV", ENERGY, "1.602176634e-19"),
    ("kWh", ENERGY, "3600000"),
    ("W", POWER, "1"),
    ("kW", POWER, "1e3"),
    ("Pa", PRESSURE, "1"),
    ("kPa", PRESSURE, "1e3"),
    ("MPa", PRESSURE, "1e6"),
    ("Hz", FREQUENCY, "1"),
    ("kHz", FREQUENCY, "1e3"),
    ("MHz", FREQUENCY, "1e6"),
    ("C", CHARGE, "1"),
    ("V", VOLTAGE, "1"),
    ("mV", VOLTAGE, "0.001"),
    ("kV", VOLTAGE, "1e3"),
    ("\\Omega", RESISTANCE, "1"),
    ("mol", AMOUNT, "1"),
    ("rad", ANGLE, "57.29577951308232"),
    ("deg", ANGLE, "1"),
    ("^\\circ", ANGLE, "1"),
    ("^\\circC", CELSIUS, "1"),
    ("^\\circF", FAHRENHEIT, "1"),
    ("K", KELVIN, "1"),
    ("$", DOLLAR, "1"),
    ("\\euro", EURO, "1"),
    ("\\pound", POUND_STERLING, "1"),
    ("\\yen", YUAN, "1"),
    ("USD", DOLLAR, "1"),
    ("EUR", EURO, "1"),
    ("RMB", YUAN, "1"),
    ("CNY", YUAN, "1"),
    ("Rs", RUPEE, "1"),
    ("千米", LENGTH, "1e3"),
    ("公里", LENGTH, "1e3"),
    ("米", LENGTH, "1"),
    ("分米", LENGTH, "0.1"),
    ("厘米", LENGTH, "0.01"),
    ("毫米", LENGTH, "0.001"),
    ("公顷", AREA, "1e4"),
    ("升", VOLUME, "0.001"),
    ("毫升", VOLUME, "1e-6"),
    ("千克", MASS, "1"),
    ("公斤", MASS, "1"),
    ("克", MASS, "0.001"),
    ("吨", MASS, "1e3"),
    ("秒", TIME, "1"),
    ("秒钟", TIME, "1"),
    ("分钟", TIME, "60"),
    ("小时", TIME, "3600"),
    ("时", TIME, "3600"),
    ("天", TIME, "86400"),
    ("度", ANGLE, "1"),
    ("元", YUAN, "1"),
    ("块", YUAN, "1"),
    ("角", YUAN, "0.1"),
    ("万元", YUAN, "1e4"),
];

/// Unit names in lower case and singular, with dimension and factor to the base unit.
const NAMES: &[(&str, [i8; 8], &str)] = &[
    ("meter", LENGTH, "1"),
    ("metre", LENGTH, "1"),
    ("kilometer", LENGTH, "1e3"),
    ("kilometre", LENGTH, "1e3"),
    ("decimeter", LENGTH, "0.1"),
    ("centimeter", LENGTH, "0.01"),
    ("centimetre", LENGTH, "0.01"),
    ("millimeter", LENGTH, "0.001"),
    ("millimetre", LENGTH, "0.001"),
    ("micrometer", LENGTH, "1e-6"),
    ("nanometer", LENGTH, "1e-9"),
    ("inch", LENGTH, "0.0254"),
    ("inche", LENGTH, "0.0254"),
    ("foot", LENGTH, "0.3048"),
    ("feet", LENGTH, "0.3048"),
    ("yard", LENGTH, "0.9144"),
    ("mile", LENGTH, "1609.344"),
    ("acre", AREA, "4046.8564224"),
    ("hectare", AREA, "1e4"),
    ("liter", VOLUME, "0.001"),
    ("litre", VOLUME, "0.001"),
    ("milliliter", VOLUME, "1e-6"),
    ("millilitre", VOLUME, "1e-6"),
    ("gallon", VOLUME, "0.003785411784"),
    ("quart", VOLUME, "0.000946352946"),
    ("pint", VOLUME, "0.000473176473"),
    ("kilogram", MASS, "1"),
    ("kilo", MASS, "1"),
    ("gram", MASS, "0.001"),
    ("milligram", MASS, "1e-6"),
    ("ton", MASS, "1e3"),
    ("tonne", MASS, "1e3"),
    ("ounce", MASS, "0.028349523125"),
    ("second", TIME, "1"),
    ("minute", TIME, "60"),
    ("hour", TIME, "3600"),
    ("day", TIME, "86400"),
    ("week", TIME, "604800"),
    ("ampere", CURRENT, "1"),
    ("amp", CURRENT, "1"),
    ("newton", FORCE, "1"),
    ("joule", ENERGY, "1"),
    ("watt", POWER, "1"),
    ("kilowatt", POWER, "1e3"),
    ("pascal", PRESSURE, "1"),
    ("hertz", FREQUENCY, "1"),
    ("coulomb", CHARGE, "1"),
    ("volt", VOLTAGE, "1"),
    ("ohm", RESISTANCE, "1"),
    ("mole", AMOUNT, "1"),
    ("radian", ANGLE, "57.29577951308232"),
    ("degree", ANGLE, "1"),
    ("degrees celsius", CELSIUS, "1"),
    ("celsius", CELSIUS, "1"),
    ("degrees fahrenheit", FAHRENHEIT, "1"),
    ("fahrenheit", FAHRENHEIT, "1"),
    ("kelvin", KELVIN, "1"),
    ("dollar", DOLLAR, "1"),
    ("cent", DOLLAR, "0.01"),
    ("euro", EURO, "1"),
    ("yuan", YUAN, "1"),
    ("rupee", RUPEE, "1"),
];

impl Unit {
    /// Returns how many of `other` this unit is; `None` for another dimension or a product of
    /// several units.
    pub fn factor_to(&self, other: &Self) -> Option<Expr> {
        let ([(ours, 1)], [(theirs, 1)]) = (self.factor.as_slice(), other.factor.as_slice()) else { return None };
        let (ours, theirs) = (Number::parse(ours)?, Number::parse(theirs)?);
        (self.dimension == other.dimension).then(|| Expr::Number(ours).over(Expr::Number(theirs)))
    }

    /// Reads a unit: `cm`, `cm^2`, `m/s`, `square meters`, `km per hour`, `kg*m/s^2`, `平方米`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches(['.', ',']).trim();
        if text.is_empty() || text.len() > MAX_BYTES {
            return None;
        }
        let text = text.replace(" per ", "/").replace('每', "/").replace("\\circ ", "\\circ");
        let mut unit = Self { dimension: [0; 8], factor: Vec::new() };
        for (index, part) in text.split('/').enumerate() {
            let sign = if index == 0 { 1 } else { -1 };
            unit.multiply(part.trim(), sign)?;
        }
        Some(unit)
    }

    fn multiply(&mut self, text: &str, sign: i8) -> Option<()> {
        if text.is_empty() {
            return None;
        }
        if self.multiply_one(text, sign).is_some() {
            return Some(());
        }
        let parts: Vec<&str> = text.split(['*', ' ']).filter(|part| !part.is_empty()).collect();
        if parts.len() < 2 || parts.len() > 4 {
            return None;
        }
        parts.into_iter().try_for_each(|part| self.multiply_one(part, sign))
    }

    /// Multiplies by one unit with its power.
    fn multiply_one(&mut self, text: &str, sign: i8) -> Option<()> {
        const PREFIXES: [(&str, i8); 12] = [
            ("square ", 2),
            ("sq. ", 2),
            ("sq ", 2),
            ("sq.", 2),
            ("cubic ", 3),
            ("cu. ", 3),
            ("cu ", 3),
            ("平方", 2),
            ("立方", 3),
            ("Square ", 2),
            ("Cubic ", 3),
            ("squared ", 2),
        ];
        let prefixed = PREFIXES.iter().find_map(|(prefix, power)| Some((text.strip_prefix(prefix)?, *power)));
        let (name, power) = prefixed.unwrap_or((text, 1));
        let (name, power) = match name.rsplit_once('^') {
            Some((name, exponent)) if !exponent.starts_with('\\') => (name, exponent.trim().parse::<i8>().ok()?),
            _ => match name.strip_suffix(" squared") {
                Some(name) => (name, 2),
                None => name.strip_suffix(" cubed").map_or((name, power), |name| (name, 3)),
            },
        };
        if !(-6..=6).contains(&power) {
            return None;
        }
        let (dimension, factor) = lookup(name.trim())?;
        for (total, one) in self.dimension.iter_mut().zip(dimension) {
            *total = total.checked_add(one.checked_mul(power)?.checked_mul(sign)?)?;
        }
        self.factor.push((factor, i32::from(power) * i32::from(sign)));
        Some(())
    }
}

fn lookup(name: &str) -> Option<([i8; 8], &'static str)> {
    let symbol = SYMBOLS.iter().find(|(symbol, ..)| *symbol == name);
    let found = symbol.or_else(|| {
        let lower = name.to_ascii_lowercase();
        let singular = lower.strip_suffix('s').unwrap_or(&lower);
        NAMES.iter().find(|(other, ..)| *other == lower || *other == singular)
    });
    found.map(|(_, dimension, factor)| (*dimension, *factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_a_unit_have_one_dimension() {
        for (a, b) in [
            ("cm^2", "square centimeters"),
            ("m/s", "meters per second"),
            ("km/h", "kilometers per hour"),
            ("平方米", "m^2"),
            ("kg*m/s^2", "N"),
            ("mL", "cm^3"),
            ("dollars", "$"),
        ] {
            let (a, b) = (Unit::parse(a).unwrap(), Unit::parse(b).unwrap());
            assert_eq!(a.dimension, b.dimension);
        }
        for text in ["", "apples", "cm^x", "m^99", "/", "any text"] {
            assert_eq!(Unit::parse(text), None, "{text}");
        }
    }
}
